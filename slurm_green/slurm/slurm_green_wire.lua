-- SPDX-License-Identifier: Apache-2.0
-- What the courier says and hears, as text: the question from a job, the answer checked.
-- Pure: no socket, no file, no clock. The Python side is slurm_green/hook/wire.py.

local M = {}

local find, format, gmatch, gsub = string.find, string.format, string.gmatch, string.gsub
local match, sub, byte, char = string.match, string.sub, string.byte, string.char
local concat = table.concat

-- A longer text is not cut (the end may say green:off): the job passes unasked.
local TEXT_LIMIT = 4096
local LINE_LIMIT = 15000
local ANSWER_LIMIT = 4096
local SCRIPT_HEAD = 8192
local RECORD = "^green:v1 [%w=:@%.%+_/, %-()]+$"

local NO_VAL, INFINITE, NO_VAL16, INFINITE16 = 4294967294, 4294967295, 65534, 65535

local TEXTS = {
    "name", "partition", "qos", "comment", "tres_per_job", "tres_per_node", "tres_per_task",
    "tres_per_socket", "array_inx", "dependency", "reservation", "licenses", "features",
}
local NUMBERS = { "time_limit", "time_min", "min_nodes", "max_nodes", "min_cpus", "num_tasks" }
local SHORTS = { "cpus_per_task", "ntasks_per_node", "requeue" }

local function escape(c)
    return format("%%%02X", byte(c))
end

-- find first: most texts need no escaping, and gsub always copies.
local function encode(text)
    if find(text, "[^ -$&-~]") then
        text = gsub(text, "[^ -$&-~]", escape)
    end
    return text
end

local function decode(text)
    return (gsub(text, "%%(%x%x)", function(hex)
        return char(tonumber(hex, 16))
    end))
end

local function whole(text)
    return text and #text <= 12 and find(text, "^%d+$") and tonumber(text) or nil
end

-- A number Slurm meant, or nil: unset fields come as one of several sentinels.
local function number(value, short)
    if type(value) ~= "number" or value < 0 or value >= NO_VAL then
        return nil
    end
    if short and (value == NO_VAL16 or value == INFINITE16) then
        return nil
    end
    return value
end

local function text_of(value)
    return type(value) == "string" and value ~= "" and value or nil
end

local function default_partition(part_list)
    for name, part in pairs(part_list or {}) do
        if part.flag_default == 1 then
            return name
        end
    end
    return nil
end

-- Lua never sees --deadline itself; what stands in the script can at least be read. The rules are
-- sbatch's: #SBATCH lines count until the first command, the last value wins.
local function script_deadline(script)
    local head = sub(script, 1, SCRIPT_HEAD)
    if not find(head, "--dea", 1, true) then
        return nil
    end
    local found
    for line in gmatch(head, "[^\r\n]+") do
        if sub(line, 1, 7) == "#SBATCH" then
            local body = gsub(sub(line, 8), "%s#.*$", "")
            for name, value in gmatch(body, "%-%-(dea%a*)[=%s]%s*[\"']?([^%s\"']+)") do
                if sub("deadline", 1, #name) == name then
                    found = value
                end
            end
        elseif find(line, "^%s*[^#%s]") then
            break
        end
    end
    return found
end

---------------------------------------------------------------------------- question and answer

-- Jobs that are never a question, whatever the site's policy: facts of their build alone.
local function untouchable(desc, script)
    return script == nil -- srun, salloc: a deferred one only hangs
        or number(desc.het_job_offset) ~= nil
        or desc.cron_job == true
        or (number(desc.begin_time) or 0) > 0 -- the user's --begin, or a federation sibling
        or desc.priority == 0 -- --hold
        or (number(desc.immediate, true) or 0) > 0 -- now or never: Slurm fails it for a begin time
        or find(desc.admin_comment or "", "green:v1", 1, true) ~= nil
end

local function question(seq, desc, part_list, uid, script)
    local parts = { tostring(seq), "uid=" .. format("%d", uid) }
    local n = 2
    local function put(key, value)
        if #value > TEXT_LIMIT then
            return false
        end
        n = n + 1
        parts[n] = key .. "=" .. encode(value)
        return true
    end
    for i = 1, #TEXTS do
        local key = TEXTS[i]
        local value = text_of(desc[key])
        if value == nil then
            if key == "partition" then
                value = default_partition(part_list)
            elseif key == "qos" then
                value = text_of(desc.default_qos)
            end
        end
        if value ~= nil and not put(key, value) then
            return nil, key .. " is too long to ask about"
        end
    end
    local user = text_of(desc.user_name)
    local account = text_of(desc.account) or text_of(desc.default_account)
    local deadline = script_deadline(script)
    if user and not put("user", user) or account and not put("account", account)
        or deadline and not put("deadline_text", deadline) then
        return nil, "user, account or deadline is too long to ask about"
    end
    for i = 1, #NUMBERS do
        local value = number(desc[NUMBERS[i]])
        if value ~= nil then
            n = n + 1
            parts[n] = NUMBERS[i] .. "=" .. format("%.0f", value)
        end
    end
    if desc.time_limit == INFINITE then
        n = n + 1
        parts[n] = "time_limit=unlimited"
    end
    for i = 1, #SHORTS do
        local value = number(desc[SHORTS[i]], true)
        if value ~= nil then
            n = n + 1
            parts[n] = SHORTS[i] .. "=" .. format("%.0f", value)
        end
    end
    local line = concat(parts, "\t") .. "\n"
    if #line > LINE_LIMIT then
        return nil, "the request is too long to ask about"
    end
    return line
end

-- Returns a verb and a table of values, or nil and what is wrong.
local function parse(line, seq)
    if #line > ANSWER_LIMIT then
        return nil, "answer is too long"
    end
    local items, values = {}, {}
    for item in gmatch(line, "[^\t]+") do
        items[#items + 1] = item
    end
    if items[1] ~= tostring(seq) then
        return nil, "answer to another question"
    end
    for i = 3, #items do
        local key, value = match(items[i], "^(%l+)=(.*)$")
        if key then
            values[key] = value
        end
    end
    return items[2] or "", values
end

-- The sentence for the user, "" for none, nil for one that must not reach a terminal.
local function message(values)
    local text = decode(values.msg or "")
    local _, breaks = gsub(text, "\n", "")
    if #text > 300 or breaks > 1 or find(text, "[^\n -~]") then
        return nil
    end
    return text
end

-- Every value is checked before the first is set: a job is changed as promised or not at all.
local function checked(values, now, max_hold_s)
    local answer = { begin = whole(values.begin) }
    if answer.begin == nil or answer.begin <= now or answer.begin > now + max_hold_s then
        return nil, "begin is out of range"
    end
    local latest = whole(values.latest)
    if latest == nil or latest < answer.begin or latest > now + 366 * 86400 then
        return nil, "latest is out of range"
    end
    answer.record = decode(values.record or "")
    if #answer.record > 400 or not find(answer.record, RECORD) then
        return nil, "record is malformed"
    end
    answer.msg = message(values)
    if answer.msg == nil then
        return nil, "message is malformed"
    end
    return answer
end

M.checked, M.decode, M.default_partition, M.number = checked, decode, default_partition, number
M.message, M.parse, M.question = message, parse, question
M.script_deadline, M.text_of = script_deadline, text_of
M.untouchable, M.whole = untouchable, whole

return M
