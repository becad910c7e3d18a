-- SPDX-License-Identifier: Apache-2.0
-- Plays slurmctld for the courier: a `slurm` table, job records with Slurm's sentinels, one command
-- a line on stdin (a Lua chunk), one line of percent-encoded results on stdout.

local NO_VAL, NO_VAL16 = 4294967294, 65534

local users, logs = {}, {}
slurm = {
    SUCCESS = 0, ERROR = -1, NO_VAL = NO_VAL, NO_VAL16 = NO_VAL16,
    NO_VAL64 = 1.8446744073709552e19, INFINITE = 4294967295,
    log_info = function(...) logs[#logs + 1] = string.format(...) end,
    log_error = function(...) logs[#logs + 1] = string.format(...) end,
    log_user = function(...) users[#users + 1] = string.format(...) end,
}

-- What Slurm 22.05 shows of `sbatch --wrap true`, field by field.
local UNSET = {
    begin_time = 0, bitflags = 503316480, cpus_per_task = NO_VAL16, cron_job = false,
    delay_boot = NO_VAL, end_time = 0, het_job_offset = NO_VAL, immediate = 0, max_cpus = NO_VAL,
    max_nodes = NO_VAL, min_cpus = 1, min_nodes = NO_VAL, name = "wrap", nice = NO_VAL,
    ntasks_per_node = NO_VAL16, num_tasks = NO_VAL, oversubscribe = NO_VAL16, priority = NO_VAL,
    requeue = NO_VAL16, shared = NO_VAL16, site_factor = NO_VAL, time_limit = NO_VAL,
    time_min = NO_VAL, user_id = 1001, user_name = "alice", work_dir = "/tmp",
    pn_min_memory = 1.8446744073709552e19, script = "#!/bin/sh\ntrue\n", mail_type = 0,
}
local WRITABLE = { begin_time = true, admin_comment = true, comment = true, extra = true }

local changed

local function job(fields)
    changed = {}
    return setmetatable({}, {
        __index = function(_, key)
            if changed[key] ~= nil then return changed[key] end
            if fields[key] == "nil" then return nil end
            if fields[key] ~= nil then return fields[key] end
            return UNSET[key]
        end,
        __newindex = function(_, key, value)
            assert(WRITABLE[key], "the courier wrote " .. key)
            changed[key] = value
        end,
    })
end

local parts = {
    main = { name = "main", flag_default = 1 },
    other = { name = "other", flag_default = 0 },
}

local function encode(text)
    return (string.gsub(tostring(text), "[^%w ._:=/+,-]", function(c)
        return string.format("%%%02X", string.byte(c))
    end))
end

function load_module(path)
    local ok, module = pcall(dofile, path)
    green = ok and module or nil
    return { ok = tostring(ok), problem = ok and "" or tostring(module) }
end

function submit(fields, times)
    local desc
    for _ = 1, times or 1 do
        desc = job(fields)
        green.submit(desc, parts, 1001)
    end
    return changed
end

function modify(fields, record, uid)
    local desc = job(fields)
    local code = green.modify(desc, setmetatable({}, { __index = record }), parts, uid)
    assert(next(changed) == nil, "modify wrote a field")
    return { code = code }
end

function question(fields)
    local wire = assert(loadfile(WIRE))()
    local line, why = wire.question(7, job(fields), parts, 1001, fields.script or UNSET.script)
    return { line = line or "", why = why or "" }
end

function configure(options)
    green.configure(options)
    return {}
end

for line in io.lines() do
    local chunk, problem = loadstring(line)
    local out = {}
    local ok, result = pcall(chunk or function() error(problem) end)
    if not ok then
        out[1] = "!harness=" .. encode(result)
    else
        for key, value in pairs(result or {}) do
            out[#out + 1] = key .. "=" .. encode(value)
        end
    end
    for _, text in ipairs(users) do out[#out + 1] = "!user=" .. encode(text) end
    for _, text in ipairs(logs) do out[#out + 1] = "!log=" .. encode(text) end
    users, logs = {}, {}
    io.write(table.concat(out, "\t"), "\n")
    io.flush()
end
