-- SPDX-License-Identifier: Apache-2.0
-- The published file: what sgreend wrote down for the hook, read without asking anybody.
-- Decisions stand in it ready made; the writer and the format are in slurm_green/hook/published.py.

local wire = ...

local M = {}

local find, format, gmatch, gsub = string.find, string.format, string.gmatch, string.gsub
local match, sub, byte = string.match, string.sub, string.byte
local decode, number, text_of, whole = wire.decode, wire.number, wire.text_of, wire.whole

local SIZE_LIMIT = 65536
local CACHE_S = 2

local cache = { path = nil, read_at = nil, data = nil }

local function read(path)
    local file = io.open(path, "r")
    if file == nil then
        return nil
    end
    local text = file:read(SIZE_LIMIT)
    file:close()
    if text == nil or sub(text, 1, 14) ~= "sgreen-hook 1\n" or sub(text, -4) ~= "end\n" then
        return nil
    end
    local data = { rows = {}, exclude = {} }
    for line in gmatch(sub(text, 15), "[^\n]+") do
        local items = {}
        for item in gmatch(line, "[^\t]+") do
            items[#items + 1] = decode(item)
        end
        if items[1] == "row" and #items >= 7 then
            data.rows[#data.rows + 1] = {
                partition = items[2], max_gpus = whole(items[3]), max_length_s = whole(items[4]),
                hold_s = whole(items[5]), latest_in_s = whole(items[6]), start = whole(items[7]),
                msg = items[8] or "",
            }
        elseif items[1] == "exclude" and #items == 3 then
            data.exclude[items[2] .. " " .. items[3]] = true
        elseif #items == 2 then
            data[items[1]] = items[2]
        end
    end
    return data
end

-- Read at most every two seconds; nil while missing or not whole.
function M.load(path, now)
    local at = cache.read_at
    if path ~= cache.path or now < at or now >= at + CACHE_S then
        cache.path, cache.read_at = path, now
        cache.data = read(path)
    end
    return cache.data
end

-- How many GPUs a plain request asks for; nil where it takes more than arithmetic to know.
local function gpus_of(desc)
    local function count(text)
        local total = 0
        for item in gmatch(text or "", "[^,]+") do
            if find(item, "gpu", 1, true) then
                total = total + (tonumber(match(item, "[:=](%d+)$")) or 1)
            end
        end
        return total
    end
    if text_of(desc.tres_per_socket) then
        return nil
    end
    local nodes = number(desc.max_nodes) or number(desc.min_nodes) or 1
    return math.max(
        count(desc.tres_per_job),
        count(desc.tres_per_node) * math.max(nodes, 1),
        count(desc.tres_per_task) * (number(desc.num_tasks) or 1)
    )
end

local function token()
    local file = io.open("/dev/urandom", "rb")
    file:setvbuf("no")
    local bytes = file:read(6)
    file:close()
    return (gsub(bytes, ".", function(c)
        return format("%02x", byte(c))
    end))
end

local function utc(epoch)
    return os.date("!%Y-%m-%dT%H:%M:%SZ", epoch)
end

-- The decision stands in the file (made in Python); here only the first row that fits is taken.
function M.decide(data, desc, part_list, script, now)
    local valid_until = data and whole(data.valid_until)
    if valid_until == nil or valid_until <= now then
        return nil
    end
    local comment = text_of(desc.comment) or ""
    local limit = number(desc.time_limit)
    if find(comment, data.comment_prefix or "green:", 1, true) or limit == nil
        or text_of(desc.array_inx) or text_of(desc.dependency) or text_of(desc.reservation)
        or wire.script_deadline(script) then
        return nil
    end
    local exclude = data.exclude
    local account = text_of(desc.account) or text_of(desc.default_account) or ""
    local qos = text_of(desc.qos) or text_of(desc.default_qos) or ""
    if exclude["user " .. (desc.user_name or "")] or exclude["account " .. account]
        or exclude["qos " .. qos] then
        return nil
    end
    local partition = text_of(desc.partition) or wire.default_partition(part_list)
    local gpus = gpus_of(desc)
    for _, row in ipairs(gpus and data.rows or {}) do
        if row.partition == partition and gpus <= (row.max_gpus or -1)
            and limit * 60 <= (row.max_length_s or -1) then
            local latest = now + (row.latest_in_s or -1)
            return {
                begin = format("%d", now + (row.hold_s or -1)),
                latest = format("%d", latest),
                record = format(
                    "green:v1 id=%s decided=%s start=%s latest=%s workers=- clock=-"
                        .. " by=published save_g=- sig=-",
                    token(), utc(now), utc(math.min(row.start or latest, latest)), utc(latest)
                ),
                msg = row.msg,
            }
        end
    end
    return nil
end

return M
