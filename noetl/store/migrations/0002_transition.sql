-- The one function that moves executions on: what follows from a batch of inputs, all of it or nothing.

CREATE TYPE moved AS (
    execution_id bigint, revision bigint, status text, state json, error json, due_at timestamptz, at timestamptz,
    withdraw boolean, revoke boolean
);
CREATE TYPE begun AS (
    execution_id bigint, catalog_id bigint, path text, version integer, status text, state json, payload json, workload json,
    error json, parent_execution_id bigint, parent_command_id integer, depth integer, due_at timestamptz, at timestamptz
);
CREATE TYPE ended AS (
    execution_id bigint, command_id integer, fence integer, status text, result json, error json, attempt integer, started_at timestamptz
);
CREATE TYPE issued AS (
    execution_id bigint, command_id integer, run_id integer, step text, item integer, kind text, pool text, input json, worker_id text,
    attempt integer, available_at timestamptz
);
CREATE TYPE happened AS (
    execution_id bigint, seq integer, event_type text, step text, run_id integer, item integer, command_id integer, status text,
    detail json, error json, created_at timestamptz
);
CREATE TYPE kept AS (execution_id bigint, name text, value json, type text, source_step text);
CREATE TYPE looped AS (
    execution_id bigint, run_id integer, step text, iterator text, total integer, issued integer, done integer, failed integer,
    cancelled integer, closed boolean, args json, loop_results integer, result json
);
CREATE TYPE paged AS (execution_id bigint, run_id integer, item integer, number integer, value json);
CREATE TYPE amended AS (execution_id bigint, command_id integer, result json);
CREATE TYPE chunked AS (execution_id bigint, run_id integer, chunk integer, items json);

-- Raises `serialization_failure` when an execution has moved on since the caller read it, `object_not_in_prerequisite_state` when a
-- command is no longer leased with the fence that the report carries. Returns the commands that were withdrawn.
CREATE FUNCTION apply(
    the_begun begun[], the_moved moved[], the_ended ended[], the_issued issued[], the_happened happened[], the_kept kept[],
    the_looped looped[], the_chunked chunked[], the_paged paged[], the_amended amended[], lease interval
) RETURNS TABLE (execution_id bigint, command_id integer, run_id integer) LANGUAGE plpgsql AS $$
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
        WHERE e.execution_id = m.execution_id AND e.revision = m.revision AND e.status IN ('RUNNING', 'PAUSED');
        GET DIAGNOSTICS touched = ROW_COUNT;
        IF touched <> cardinality(the_moved) THEN
            RAISE EXCEPTION 'an execution has moved on' USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    IF cardinality(the_ended) > 0 THEN
        UPDATE command c
        SET status = d.status, result = d.result, error = d.error, attempt = d.attempt, finished_at = now(),
            started_at = coalesce(d.started_at, c.started_at), lease_until = NULL
        FROM unnest(the_ended) d
        WHERE c.execution_id = d.execution_id AND c.command_id = d.command_id AND c.status = 'running' AND c.fence = d.fence;
        GET DIAGNOSTICS touched = ROW_COUNT;
        IF touched <> cardinality(the_ended) THEN
            RAISE EXCEPTION 'a lease is no longer live' USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
    END IF;
    IF cardinality(the_issued) > 0 THEN
        INSERT INTO command (execution_id, command_id, run_id, step, item, kind, pool, input, attempt, available_at, status, fence, worker_id,
                             lease_until, claimed_at)
        SELECT i.execution_id, i.command_id, i.run_id, i.step, i.item, i.kind, i.pool, i.input, i.attempt, coalesce(i.available_at, now()),
               CASE WHEN i.worker_id IS NULL THEN 'waiting' ELSE 'running' END,
               CASE WHEN i.worker_id IS NULL THEN 0 ELSE 1 END,
               i.worker_id,
               CASE WHEN i.worker_id IS NULL THEN NULL ELSE now() + lease END,
               CASE WHEN i.worker_id IS NULL THEN NULL ELSE now() END
        FROM unnest(the_issued) i;
    END IF;
    IF cardinality(the_happened) > 0 THEN
        INSERT INTO event (execution_id, seq, event_type, step, run_id, item, command_id, status, detail, error, created_at)
        SELECT h.* FROM unnest(the_happened) h;
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
    IF EXISTS (SELECT 1 FROM unnest(the_moved) m WHERE m.revoke) THEN
        UPDATE command c SET status = 'cancelled', fence = c.fence + 1, lease_until = NULL, finished_at = now()
        FROM unnest(the_moved) m
        WHERE m.revoke AND c.execution_id = m.execution_id AND c.status IN ('waiting', 'running');
    END IF;
    IF EXISTS (SELECT 1 FROM unnest(the_moved) m WHERE m.withdraw) THEN
        RETURN QUERY
        UPDATE command c SET status = 'cancelled', fence = c.fence + 1, finished_at = now()
        FROM unnest(the_moved) m
        WHERE m.withdraw AND c.execution_id = m.execution_id AND c.status = 'waiting'
        RETURNING c.execution_id, c.command_id, c.run_id;
    END IF;
END $$;
