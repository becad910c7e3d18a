-- SPDX-License-Identifier: Apache-2.0
-- The submit hook's courier inside slurmctld: carries a question out and a whitelisted answer in.
--
-- It holds no policy. slurmctld runs it under its locks, one job at a time, so there is no fork, no
-- network, no wait beyond `timeout_s`, and every failure leaves the job as it is. Lua 5.1, needs
-- only lua-socket and its three siblings, slurm_green_*.lua, in the same directory.
-- Failure table and installation: docs/hook.md.

local M = {}

local gmatch, gsub, match = string.gmatch, string.gsub, string.match
local floor, time = math.floor, os.time

local config = {
    socket = "/run/slurm-green/hook.sock",
    published = "/run/slurm-green/hook.plan",
    mode = "socket",
    timeout_s = 0.05,
    max_hold_s = 300, -- the longest hook.hold
    record_field = nil, -- nil: what the published file says, else admin_comment
}

-- Slurm refuses a submission whose comment, admin comment or extra is longer than this.
local FIELD_LIMIT = 1024
local FIELDS = { admin_comment = true, comment = true, extra = true }

local function log(text)
    slurm.log_info("%s", "slurm-green: " .. gsub(tostring(text), "[^ -~]", "?"))
end

local function sibling(name, ...)
    local here = match(debug.getinfo(1, "S").source, "^@(.*/)") or "./"
    return assert(loadfile(here .. "slurm_green_" .. name .. ".lua"))(...)
end

local wire = sibling("wire")
local published = sibling("published", wire)
local transport = sibling("transport", config, log)
local number, text_of, whole = wire.number, wire.text_of, wire.whole

local function header(now)
    return published.load(config.published, now)
end

-- Sets what the answer says; returns why not, with the job as it was, where Slurm would refuse it.
local function apply(desc, answer, record_field)
    if answer.record then
        local field = FIELDS[record_field] and record_field or "admin_comment"
        local there = text_of(desc[field])
        local text = there and (there .. " " .. answer.record) or answer.record
        if #text > FIELD_LIMIT then
            return field .. " has no room for the record"
        end
        desc[field] = text
    end
    desc.begin_time = answer.begin
    if answer.msg and answer.msg ~= "" then
        slurm.log_user("%s", answer.msg)
    end
    return nil
end

local seq = 0

local function ask(desc, part_list, uid, script, now)
    if not transport.usable then
        transport.note("lua-socket for Lua 5.1 is missing: jobs pass unchanged")
        return nil
    end
    if not transport.alive(now) then
        return nil
    end
    seq = seq + 1
    local line, why = wire.question(seq, desc, part_list, uid, script)
    if line == nil then
        log(why .. ": the job passes unchanged")
        return nil
    end
    local answer = transport.exchange(line, now)
    if answer == nil then
        return nil
    end
    local verb, values = wire.parse(answer, seq)
    if verb == nil then
        transport.drop() -- whatever comes next on this connection cannot be trusted to be ours
        log("unusable answer (" .. values .. "): the job passes unchanged")
        return nil
    end
    return verb, values
end

local function submit(desc, part_list, uid)
    local script = desc.script
    if wire.untouchable(desc, script) then
        return
    end
    local now = time()
    local verb, values
    if config.mode == "published" then
        values = published.decide(header(now), desc, part_list, script, now)
        verb = values and "defer"
    else
        verb, values = ask(desc, part_list, uid, script, now)
    end
    if verb == nil then
        return
    end
    if verb == "pass" then
        local said = wire.message(values)
        if said and said ~= "" then
            slurm.log_user("%s", said)
        end
        return
    end
    local answer, why
    if verb == "defer" then
        answer, why = wire.checked(values, time(), config.max_hold_s)
    else
        transport.drop()
        why = "unknown verb"
    end
    if answer == nil then
        log("unusable answer (" .. why .. "): the job passes unchanged")
        return
    end
    local field = config.record_field
    if field == nil then
        field = (header(now) or {}).record_field
    end
    why = apply(desc, answer, field)
    if why then
        log(why .. ": the job passes unchanged")
    end
end

-- Seconds since 1970 of a UTC date (os.time would read it as local time).
local function utc_epoch(y, mo, d, second)
    if mo <= 2 then
        y, mo = y - 1, mo + 12 -- years begin in March: the leap day comes last
    end
    local days = 365 * y + floor(y / 4) - floor(y / 100) + floor(y / 400)
        + floor((153 * (mo - 3) + 2) / 5) + d - 719469
    return days * 86400 + second
end

-- The begin time of ours that is still ahead, or nil. job_rec has no begin time on any Slurm seen,
-- so the promise in the record stands in for it.
local function deferred_until(rec, data, now)
    local field = config.record_field or data.record_field
    local text = text_of(rec[FIELDS[field] and field or "admin_comment"])
    local latest
    for stamp in gmatch(text or "", "green:v1 [^\n]-latest=(%S+)") do
        latest = stamp
    end
    local y, mo, d, h, mi, s = match(latest or "", "^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)Z$")
    if y == nil then
        return nil
    end
    local epoch = utc_epoch(tonumber(y), tonumber(mo), tonumber(d), h * 3600 + mi * 60 + s)
    return epoch > now and epoch or nil
end

local function modify(desc, rec, uid)
    local wanted = number(desc.begin_time)
    if uid == 0 or wanted == nil or wanted == 0 then
        return slurm.SUCCESS
    end
    local now = time()
    local data = header(now)
    if data == nil or data.user_may_pull ~= "0" or whole(data.slurm_uid) == uid then
        return slurm.SUCCESS
    end
    local ours = deferred_until(rec, data, now)
    if ours == nil or wanted >= ours then
        return slurm.SUCCESS
    end
    slurm.log_user("%s", "slurm-green holds this job for cleaner power and this site does not let"
        .. " users start it earlier; ask the administrator, or resubmit with --comment=green:off")
    return slurm.ERROR
end

function M.configure(options)
    for key, value in pairs(options or {}) do
        config[key] = value
    end
    return M
end

-- From slurm_job_submit: never raises, never refuses, returns nothing.
function M.submit(desc, part_list, uid)
    local ok, problem = pcall(submit, desc, part_list, uid)
    if not ok then
        pcall(transport.drop)
        pcall(log, "hook failed (" .. tostring(problem) .. "): the job passes unchanged")
    end
end

-- From slurm_job_modify: the code to return to Slurm; never writes a field.
function M.modify(desc, rec, _, uid)
    local ok, code = pcall(modify, desc, rec, uid)
    if ok then
        return code
    end
    pcall(log, "modify hook failed (" .. tostring(code) .. "): the change passes")
    return slurm.SUCCESS
end

return M
