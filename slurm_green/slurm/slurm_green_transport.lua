-- SPDX-License-Identifier: Apache-2.0
-- One question, one answer over a unix socket, with a hard limit on the time slurmctld can lose.
--
-- A daemon that is gone costs no wait. One that hangs costs one time-out: after it nothing is asked
-- until a ping, sent without waiting, has been answered. One that answers pings but no questions
-- costs three, then one after 10, 20, 40, 60 s.

local config, log = ...

local M = {}

local MAX_TIMEOUTS = 3
local BACKOFF_S, BACKOFF_MAX_S = 10, 60

local unix, gettime -- from lua-socket, nil where it is missing
local conn -- the one connection questions go through
local probe -- a connection that waits for a pong
local suspect = false -- a question timed out: nothing is asked before a pong
local timeouts, retry_at, backoff_s = 0, 0, BACKOFF_S
local last_state = ""

function M.note(state)
    if state ~= last_state then
        last_state = state
        log(state)
    end
end

function M.drop()
    if conn then
        conn:close()
        conn = nil
    end
end

local function connect(limit_s)
    local new = unix()
    new:settimeout(limit_s, "t")
    local ok, problem = new:connect(config.socket)
    if ok then
        return new
    end
    new:close()
    return nil, problem
end

-- Ask a silent daemon for a sign of life without waiting for it: the pong, if one comes, is seen
-- by a later job. This is what makes a hung daemon cost one time-out, not one per retry.
local function send_ping()
    local problem
    probe, problem = connect(0)
    if probe then
        probe:send("ping\n")
    elseif problem ~= "timeout" then
        suspect = false -- nobody listens any more: to find that out again costs no time
    end
end

function M.alive(now)
    if not suspect then
        return true
    end
    if timeouts >= MAX_TIMEOUTS and now < retry_at and now > retry_at - 2 * BACKOFF_MAX_S then
        return false
    end
    if probe == nil then
        send_ping()
        return not suspect
    end
    probe:settimeout(0, "t")
    local line, problem = probe:receive("*l")
    if line == "pong" then
        M.drop()
        conn, probe, suspect = probe, nil, false
        M.note("answering again")
        return true
    end
    if line ~= nil or problem ~= "timeout" then
        probe:close()
        probe = nil
        send_ping()
    end
    return not suspect
end

local function timed_out(now)
    M.drop()
    suspect = true
    timeouts = timeouts + 1
    if timeouts >= MAX_TIMEOUTS then
        retry_at = now + backoff_s
        backoff_s = math.min(2 * backoff_s, BACKOFF_MAX_S)
    end
    M.note("no answer in time: jobs pass unchanged until sgreend gives a sign of life")
    if probe == nil then
        send_ping()
    end
end

-- One question, one answer, `timeout_s` in all; nil when there is none.
function M.exchange(line, now)
    local started = gettime()
    local function left()
        local spent = gettime() - started
        -- A clock stepped backwards must not lengthen the wait.
        return math.max(0.001, config.timeout_s - math.max(0, spent))
    end
    for _ = 1, 2 do
        local fresh = conn == nil
        local problem, sent, answer
        if fresh then
            conn, problem = connect(left())
            if conn == nil then
                if problem == "timeout" then
                    timed_out(now)
                else
                    M.note("no sgreend (" .. tostring(problem) .. "): jobs pass unchanged")
                end
                return nil
            end
        end
        conn:settimeout(left(), "t")
        sent, problem = conn:send(line)
        if sent then
            conn:settimeout(left(), "t")
            answer, problem = conn:receive("*l")
        end
        if answer then
            timeouts, backoff_s = 0, BACKOFF_S
            M.note("sgreend answers")
            return answer
        end
        if problem == "timeout" then
            timed_out(now)
            return nil
        end
        M.drop()
        if fresh then
            M.note("sgreend closed the connection: jobs pass unchanged")
            return nil
        end
        -- The daemon was restarted under our connection: once more on a new one.
    end
    return nil
end

do
    local ok, socket = pcall(require, "socket")
    local ok_unix, unix_module = pcall(require, "socket.unix")
    if ok and ok_unix then
        gettime = socket.gettime
        -- lua-socket 2 returns the constructor itself, 3 a table of them.
        unix = type(unix_module) == "table" and unix_module.stream or unix_module
        M.usable = true
    end
end

return M
