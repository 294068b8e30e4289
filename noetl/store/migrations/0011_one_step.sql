-- What `apply` does for the commonest transition of all, when nothing else is there to be committed with it: one command of one execution has
-- ended, and at most one is issued. With values in place of arrays of rows it costs half (docs/decisions/0023). Raises what `apply` does.
--
-- Whoever calls it sets `plan_cache_mode` for the session; a function's own setting is put in place and taken back at every call.
CREATE FUNCTION apply_step(
    moved_id bigint, moved_revision bigint, moved_status text, moved_state json, moved_error json, moved_due_at timestamptz,
    moved_at timestamptz,
    ended_id integer, ended_fence integer, ended_status text, ended_result json, ended_error json, ended_attempt integer,
    ended_started_at timestamptz,
    issued_id integer, issued_run_id integer, issued_step text, issued_item integer, issued_kind text, issued_pool text, issued_input json,
    issued_worker_id text, issued_attempt integer, issued_available_at timestamptz, issued_serial boolean,
    first_seq integer, last_seq integer, events json, lease interval
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE execution e
    SET revision = e.revision + 1, status = moved_status, state = moved_state, error = moved_error, due_at = moved_due_at,
        end_time = CASE WHEN moved_status IN ('RUNNING', 'PAUSED') THEN NULL ELSE moved_at END
    WHERE e.execution_id = moved_id AND e.revision = moved_revision AND e.end_time IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'an execution has moved on' USING ERRCODE = 'serialization_failure';
    END IF;
    UPDATE command c
    SET status = ended_status, result = ended_result, error = ended_error, attempt = ended_attempt, finished_at = now(),
        started_at = coalesce(ended_started_at, c.started_at), lease_until = NULL
    WHERE c.execution_id = moved_id AND c.command_id = ended_id AND c.status || '' = 'running' AND c.fence = ended_fence;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a lease is no longer live' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF issued_id IS NOT NULL THEN
        INSERT INTO command (execution_id, command_id, run_id, step, item, kind, pool, input, attempt, available_at, serial, status, fence,
                             worker_id, lease_until, claimed_at)
        VALUES (moved_id, issued_id, issued_run_id, issued_step, issued_item, issued_kind, issued_pool, issued_input, issued_attempt,
                coalesce(issued_available_at, now()), issued_serial,
                CASE WHEN issued_worker_id IS NULL THEN 'waiting' ELSE 'running' END,
                CASE WHEN issued_worker_id IS NULL THEN 0 ELSE 1 END,
                issued_worker_id,
                CASE WHEN issued_worker_id IS NULL THEN NULL ELSE now() + lease END,
                CASE WHEN issued_worker_id IS NULL THEN NULL ELSE now() END);
    END IF;
    INSERT INTO history (execution_id, seq, last_seq, events) VALUES (moved_id, first_seq, last_seq, events);
END $$;
