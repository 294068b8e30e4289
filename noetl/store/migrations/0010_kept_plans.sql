-- What a transition writes is planned once, and no longer each time.
DROP FUNCTION apply;

-- Raises `serialization_failure` when an execution has moved on since the caller read it; `no_data_found` when one that is to begin with the
-- newest version would not; `object_not_in_prerequisite_state` when a command is no longer leased with the fence that the report carries. Of the executions
-- in `revoked`, and of the runs in `stopped`, no command waits or runs afterwards but those that are issued here; of those in `withdrawn`
-- none waits: these are returned.
--
-- The plans of its statements are made once, and for any arrays: planning them each time was half of what a step cost in the database. So that
-- a plan is right whatever it was made from, `|| ''` keeps the indexes of all waiting and of all running commands out of it: rows are found by
-- their key.
--
-- Locks are taken in one order: executions by their ids, then commands by theirs. Whoever else locks commands skips those that are locked.
CREATE FUNCTION apply(
    the_begun begun[], the_moved moved[], the_ended ended[], the_issued issued[], the_happened happened[], the_kept kept[],
    the_looped looped[], the_chunked chunked[], the_paged paged[], the_amended amended[], the_revoked bigint[], the_withdrawn bigint[],
    the_stopped stopped[], lease interval
) RETURNS TABLE (execution_id bigint, command_id integer, run_id integer) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    touched integer;
BEGIN
    IF cardinality(the_begun) > 0 THEN
        INSERT INTO execution (execution_id, catalog_id, path, version, status, revision, state, payload, workload, error,
                               parent_execution_id, parent_command_id, depth, due_at, start_time, end_time)
        SELECT b.execution_id, b.catalog_id, b.path, b.version, b.status, 1, b.state, b.payload, b.workload, b.error,
               b.parent_execution_id, b.parent_command_id, b.depth, b.due_at, b.at, CASE WHEN b.status IN ('RUNNING', 'PAUSED') THEN NULL ELSE b.at END
        FROM unnest(the_begun) b;
        IF EXISTS (SELECT 1 FROM unnest(the_begun) b JOIN catalog c ON c.path = b.path AND c.version > b.version WHERE b.newest) THEN
            RAISE EXCEPTION 'a playbook has a newer version' USING ERRCODE = 'no_data_found';
        END IF;
    END IF;
    IF cardinality(the_moved) > 0 THEN
        IF cardinality(the_moved) > 1 THEN
            PERFORM 1 FROM execution e WHERE e.execution_id IN (SELECT m.execution_id FROM unnest(the_moved) m)
            ORDER BY e.execution_id FOR UPDATE;
        END IF;
        UPDATE execution e
        SET revision = e.revision + 1, status = m.status, state = m.state, error = m.error, due_at = m.due_at,
            end_time = CASE WHEN m.status IN ('RUNNING', 'PAUSED') THEN NULL ELSE m.at END
        FROM unnest(the_moved) m
        WHERE e.execution_id = m.execution_id AND e.revision = m.revision AND e.end_time IS NULL;
        GET DIAGNOSTICS touched = ROW_COUNT;
        IF touched <> cardinality(the_moved) THEN
            RAISE EXCEPTION 'an execution has moved on' USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    IF cardinality(the_revoked) + cardinality(the_withdrawn) + cardinality(the_stopped) > 0 THEN
        PERFORM 1 FROM command c JOIN (
            SELECT d.execution_id, d.command_id FROM unnest(the_ended) d
            UNION SELECT k.execution_id, k.command_id FROM command k
            WHERE k.execution_id = ANY(the_revoked || the_withdrawn) AND k.status || '' IN ('waiting', 'running')
            UNION SELECT k.execution_id, k.command_id FROM unnest(the_stopped) s
            JOIN command k ON k.execution_id = s.execution_id AND k.run_id = s.run_id AND k.status || '' IN ('waiting', 'running')
        ) t ON c.execution_id = t.execution_id AND c.command_id = t.command_id
        ORDER BY c.execution_id, c.command_id FOR UPDATE OF c;
    END IF;
    IF cardinality(the_ended) > 0 THEN
        UPDATE command c
        SET status = d.status, result = d.result, error = d.error, attempt = d.attempt, finished_at = now(),
            started_at = coalesce(d.started_at, c.started_at), lease_until = NULL
        FROM (SELECT * FROM unnest(the_ended) u ORDER BY u.execution_id, u.command_id) d
        WHERE c.execution_id = d.execution_id AND c.command_id = d.command_id AND c.status || '' = 'running' AND c.fence = d.fence;
        GET DIAGNOSTICS touched = ROW_COUNT;
        IF touched <> cardinality(the_ended) THEN
            RAISE EXCEPTION 'a lease is no longer live' USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END IF;
    IF cardinality(the_stopped) > 0 THEN
        UPDATE command c SET status = 'cancelled', fence = c.fence + 1, lease_until = NULL, finished_at = now()
        FROM unnest(the_stopped) s
        WHERE c.execution_id = s.execution_id AND c.run_id = s.run_id AND c.status || '' IN ('waiting', 'running');
    END IF;
    IF cardinality(the_issued) > 0 THEN
        INSERT INTO command (execution_id, command_id, run_id, step, item, kind, pool, input, attempt, available_at, serial, status, fence,
                             worker_id, lease_until, claimed_at)
        SELECT i.execution_id, i.command_id, i.run_id, i.step, i.item, i.kind, i.pool, i.input, i.attempt, coalesce(i.available_at, now()),
               i.serial,
               CASE WHEN i.worker_id IS NULL THEN 'waiting' ELSE 'running' END,
               CASE WHEN i.worker_id IS NULL THEN 0 ELSE 1 END,
               i.worker_id,
               CASE WHEN i.worker_id IS NULL THEN NULL ELSE now() + lease END,
               CASE WHEN i.worker_id IS NULL THEN NULL ELSE now() END
        FROM unnest(the_issued) i;
    END IF;
    IF cardinality(the_happened) > 0 THEN
        INSERT INTO history (execution_id, seq, last_seq, events) SELECT h.* FROM unnest(the_happened) h;
    END IF;
    IF cardinality(the_kept) > 0 THEN
        INSERT INTO variable (execution_id, name, value, type, source_step)
        SELECT k.execution_id, k.name, k.value, k.type, k.source_step FROM unnest(the_kept) k
        ON CONFLICT (execution_id, name) DO UPDATE
        SET value = excluded.value, type = excluded.type, source_step = excluded.source_step, updated_at = now();
    END IF;
    IF cardinality(the_looped) > 0 THEN
        INSERT INTO loop (execution_id, run_id, step, iterator, total, issued, done, failed, cancelled, closed, args, loop_results, result,
                          closed_at)
        SELECT l.execution_id, l.run_id, l.step, coalesce(l.iterator, ''), l.total, l.issued, l.done, l.failed, l.cancelled, l.closed,
               coalesce(l.args, '{}'), l.loop_results, l.result, CASE WHEN l.closed THEN now() END
        FROM unnest(the_looped) l
        ON CONFLICT (execution_id, run_id) DO UPDATE
        SET issued = excluded.issued, done = excluded.done, failed = excluded.failed, cancelled = excluded.cancelled,
            closed = excluded.closed, closed_at = excluded.closed_at, result = coalesce(excluded.result, loop.result);
    END IF;
    IF cardinality(the_chunked) > 0 THEN
        INSERT INTO loop_items (execution_id, run_id, chunk, items)
        SELECT c.execution_id, c.run_id, c.chunk, c.items FROM unnest(the_chunked) c;
    END IF;
    IF cardinality(the_paged) > 0 THEN
        INSERT INTO page (execution_id, run_id, item, number, value) SELECT p.* FROM unnest(the_paged) p;
    END IF;
    IF cardinality(the_amended) > 0 THEN
        UPDATE command c SET result = a.result FROM unnest(the_amended) a
        WHERE c.execution_id = a.execution_id AND c.command_id = a.command_id AND c.status IN ('done', 'failed');
    END IF;
    IF cardinality(the_revoked) > 0 THEN
        UPDATE command c SET status = 'cancelled', fence = c.fence + 1, lease_until = NULL, finished_at = now()
        WHERE c.execution_id = ANY(the_revoked) AND c.status || '' IN ('waiting', 'running');
    END IF;
    IF cardinality(the_withdrawn) > 0 THEN
        RETURN QUERY
        UPDATE command c SET status = 'cancelled', fence = c.fence + 1, finished_at = now()
        WHERE c.execution_id = ANY(the_withdrawn) AND c.status || '' = 'waiting'
        RETURNING c.execution_id, c.command_id, c.run_id;
    END IF;
END $$;
