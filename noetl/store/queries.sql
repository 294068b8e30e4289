-- Every statement that the server runs, by name. `-- name: X` begins one; what follows until the next is its text.

-- name: register
-- The same content again is the version that is there; anything else is the next version.
WITH latest AS (
    SELECT catalog_id, version, content_hash FROM catalog WHERE path = $1 ORDER BY version DESC LIMIT 1
), added AS (
    INSERT INTO catalog (path, version, name, description, labels, content, content_hash)
    SELECT $1, coalesce((SELECT version FROM latest), 0) + 1, $2, $3, $4::json, $5, $6
    RETURNING catalog_id, version
)
SELECT catalog_id, version FROM added

-- name: lock_path
SELECT pg_advisory_xact_lock(hashtextextended('noetl.catalog.' || $1, 0))

-- name: catalog_list
SELECT DISTINCT ON (path) path, version, catalog_id, kind, name, description, created_at, count(*) OVER (PARTITION BY path) AS versions
FROM catalog WHERE path LIKE $1 || '%' ORDER BY path, version DESC LIMIT $2

-- name: catalog_versions
SELECT path, version, catalog_id, content_hash, description, created_at FROM catalog WHERE path = $1 ORDER BY version DESC

-- name: catalog_entry
SELECT catalog_id, path, version, kind, name, description, labels, content, content_hash, created_at FROM catalog
WHERE ($1::bigint IS NOT NULL AND catalog_id = $1) OR ($1::bigint IS NULL AND path = $2 AND ($3::integer IS NULL OR version = $3))
ORDER BY version DESC LIMIT 1

-- name: apply
SELECT execution_id, command_id, run_id FROM apply(
    $1::begun[], $2::moved[], $3::ended[], $4::issued[], $5::happened[], $6::kept[], $7::looped[], $8::chunked[], $9::paged[],
    $10::amended[], $11::bigint[], $12::bigint[], $13::stopped[], $14::interval)

-- name: apply_step
SELECT apply_step(
    $1::bigint, $2::bigint, $3::text, $4::json, $5::json, $6::timestamptz, $7::timestamptz,
    $8::integer, $9::integer, $10::text, $11::json, $12::json, $13::integer, $14::timestamptz,
    $15::integer, $16::integer, $17::text, $18::integer, $19::text, $20::text, $21::json, $22::text, $23::integer, $24::timestamptz, $25::boolean,
    $26::integer, $27::integer, $28::json, $29::interval)

-- name: load_execution
SELECT execution_id, catalog_id, path, version, status, revision, state, payload, workload, error, parent_execution_id, parent_command_id,
       depth
FROM execution WHERE execution_id = $1

-- name: load_live
-- How many commands of each run wait or run, and the revision at which that is so.
SELECT e.revision, c.run_id, count(c.run_id) AS live
FROM execution e LEFT JOIN command c ON c.execution_id = e.execution_id AND c.status || '' IN ('waiting', 'running')
WHERE e.execution_id = $1 GROUP BY e.revision, c.run_id

-- name: load_variables
SELECT name, value FROM variable WHERE execution_id = $1

-- name: load_results
-- The latest finished run of each of these steps: a command's result, or a loop (result NULL, is_loop) that is read by its run.
SELECT DISTINCT ON (step) step, run_id, command_id, fence, result, is_loop FROM (
    SELECT step, run_id, command_id, fence, result, false AS is_loop FROM command
    WHERE execution_id = $1 AND step = ANY($2::text[]) AND item IS NULL AND kind NOT LIKE 'sink:%'
      AND (status = 'done' OR (status = 'failed' AND result IS NOT NULL))
    UNION ALL
    SELECT step, run_id, NULL, NULL, result, true FROM loop WHERE execution_id = $1 AND step = ANY($2::text[]) AND closed AND cancelled = 0
) found ORDER BY step, run_id DESC, command_id DESC

-- name: load_aggregate
-- Of an item that was called more than once, the last call counts; one that failed has no result. `results` is NULL where they have more
-- than $3 bytes (`size`): these are read one after the other.
WITH last AS MATERIALIZED (
    SELECT DISTINCT ON (c.item) c.item, c.status, c.result, c.command_id, c.fence
    FROM command c
    WHERE c.execution_id = $1 AND c.run_id = $2 AND c.step = (SELECT step FROM loop WHERE execution_id = $1 AND run_id = $2)
      AND c.item IS NOT NULL AND c.kind NOT LIKE 'sink:%'
    ORDER BY c.item, c.command_id DESC
), measured AS (
    SELECT coalesce(sum(CASE WHEN status <> 'done' THEN 4 WHEN result IS NOT NULL THEN octet_length(result::text)
                             ELSE (SELECT sum(k.size) FROM chunk k WHERE k.execution_id = $1 AND k.command_id = last.command_id
                                   AND k.fence = last.fence) END + 1), 0)::bigint AS size,
           count(*) FILTER (WHERE status = 'done' AND result IS NULL) AS stored
    FROM last
)
SELECT l.result, l.total, l.done, l.failed, m.size,
       CASE WHEN m.size <= $3 AND m.stored = 0 AND l.result IS NULL THEN
           (SELECT coalesce('[' || string_agg(CASE WHEN last.status = 'done' THEN last.result::text ELSE 'null' END, ',' ORDER BY last.item)
                            || ']', '[]') FROM last) END AS results
FROM loop l CROSS JOIN measured m WHERE l.execution_id = $1 AND l.run_id = $2

-- name: stream_aggregate
-- The items' results in the items' order; of those whose text is in chunks the command and its fence.
SELECT DISTINCT ON (c.item) c.item, c.status, c.command_id, c.fence, CASE WHEN c.status = 'done' THEN c.result::text END AS result
FROM command c
WHERE c.execution_id = $1 AND c.run_id = $2 AND c.step = (SELECT step FROM loop WHERE execution_id = $1 AND run_id = $2)
  AND c.item > $3 AND c.kind NOT LIKE 'sink:%'
ORDER BY c.item, c.command_id DESC LIMIT $4

-- name: chunk_write
-- Only the live lease's worker writes; the same piece again replaces itself.
WITH live AS (
    SELECT execution_id, command_id, fence FROM command WHERE execution_id = $1 AND command_id = $2 AND fence = $3 AND status = 'running'
), begun AS (
    INSERT INTO upload (execution_id, command_id, fence) SELECT execution_id, command_id, fence FROM live WHERE $4 = 0 ON CONFLICT DO NOTHING
)
INSERT INTO chunk (execution_id, command_id, fence, number, size, body)
SELECT execution_id, command_id, fence, $4, $5, $6 FROM live
ON CONFLICT (execution_id, command_id, fence, number) DO UPDATE SET size = excluded.size, body = excluded.body

-- name: chunk_read
SELECT body FROM chunk WHERE execution_id = $1 AND command_id = $2 AND fence = $3 AND number = $4

-- name: chunk_size
SELECT count(*) AS chunks, coalesce(sum(size), 0)::bigint AS size FROM chunk WHERE execution_id = $1 AND command_id = $2 AND fence = $3

-- name: chunk_copy
INSERT INTO chunk (execution_id, command_id, fence, number, size, body)
SELECT $4, $5, $6, number, size, body FROM chunk WHERE execution_id = $1 AND command_id = $2 AND fence = $3
ON CONFLICT DO NOTHING

-- name: sweep_uploads
-- Leases that ended: their pieces go unless they are the command's result.
WITH settled AS (
    DELETE FROM upload u WHERE u.created_at < now() - $1::interval
      AND NOT EXISTS (SELECT 1 FROM command c WHERE c.execution_id = u.execution_id AND c.command_id = u.command_id
                      AND c.fence = u.fence AND c.status = 'running')
    RETURNING u.execution_id, u.command_id, u.fence
)
DELETE FROM chunk k USING settled s
WHERE k.execution_id = s.execution_id AND k.command_id = s.command_id AND k.fence = s.fence
  AND NOT EXISTS (SELECT 1 FROM command c WHERE c.execution_id = s.execution_id AND c.command_id = s.command_id
                  AND c.fence = s.fence AND c.status = 'done' AND c.result IS NULL)

-- name: file_current
-- The version of an execution's file that counts.
SELECT f.command_id, f.fence, f.size FROM file f
WHERE f.execution_id = $1 AND f.whole AND (f.command_id = 0 OR EXISTS (
    SELECT 1 FROM command c WHERE c.execution_id = $1 AND c.command_id = f.command_id AND c.fence = f.fence AND c.status = 'done'))
ORDER BY f.command_id DESC LIMIT 1

-- name: file_write
-- Only the live lease's worker writes; the same piece again replaces itself.
WITH live AS (
    SELECT execution_id, command_id, fence FROM command
    WHERE execution_id = $1 AND command_id = $2 AND fence = $3 AND status = 'running' AND serial
), begun AS (
    INSERT INTO file (execution_id, command_id, fence) SELECT execution_id, command_id, fence FROM live WHERE $4 = 0 ON CONFLICT DO NOTHING
)
INSERT INTO file_piece (execution_id, command_id, fence, number, size, body)
SELECT execution_id, command_id, fence, $4, $5, $6 FROM live
ON CONFLICT (execution_id, command_id, fence, number) DO UPDATE SET size = excluded.size, body = excluded.body

-- name: file_whole
-- What the version that counts until now has followed is of no more use: of an execution there are two or three versions at a time.
WITH counting AS MATERIALIZED (
    SELECT max(v.command_id) AS command_id FROM file v
    JOIN command c ON c.execution_id = v.execution_id AND c.command_id = v.command_id AND c.fence = v.fence AND c.status = 'done'
    WHERE v.execution_id = $1 AND v.whole
), followed AS (
    DELETE FROM file v USING counting WHERE v.execution_id = $1 AND v.command_id < counting.command_id
)
UPDATE file f SET size = $4, whole = true
WHERE f.execution_id = $1 AND f.command_id = $2 AND f.fence = $3
  AND $4 = (SELECT sum(p.size) FROM file_piece p WHERE p.execution_id = $1 AND p.command_id = $2 AND p.fence = $3)

-- name: file_read
SELECT body FROM file_piece WHERE execution_id = $1 AND command_id = $2 AND fence = $3 AND number = $4

-- name: sweep_files
-- Versions whose lease has ended go if they do not count, and so does what a later one that counts has followed.
DELETE FROM file f USING file v LEFT JOIN command c ON c.execution_id = v.execution_id AND c.command_id = v.command_id
WHERE NOT v.settled AND v.created_at < now() - $1::interval AND f.execution_id = v.execution_id
  AND CASE WHEN c.fence = v.fence AND c.status = 'running' THEN false
           WHEN v.whole AND c.fence = v.fence AND c.status = 'done' THEN f.command_id < v.command_id
           ELSE f.command_id = v.command_id AND f.fence = v.fence END

-- name: sweep_files_settled
-- By a subquery, so that no plan reads all commands.
UPDATE file f SET settled = true WHERE NOT f.settled AND f.created_at < now() - $1::interval AND f.whole
  AND (SELECT c.status FROM command c WHERE c.execution_id = f.execution_id AND c.command_id = f.command_id AND c.fence = f.fence) = 'done'

-- name: sweep_files_old
-- The files of executions that ended long ago: nobody is likely to continue them.
DELETE FROM file f USING execution e
WHERE f.created_at < now() - $1::interval AND e.execution_id = f.execution_id AND e.end_time < now() - $1::interval

-- name: load_pages
SELECT value FROM page WHERE execution_id = $1 AND run_id = $2 AND item = $3 ORDER BY number

-- name: load_items
SELECT items FROM loop_items WHERE execution_id = $1 AND run_id = $2 ORDER BY chunk

-- name: load_redo
SELECT redo FROM loop WHERE execution_id = $1 AND run_id = $2

-- name: load_loop
SELECT args, loop_results, total, iterator FROM loop WHERE execution_id = $1 AND run_id = $2

-- name: load_command
SELECT run_id, step, item, fence, status, attempt, input, result, error FROM command WHERE execution_id = $1 AND command_id = $2

-- name: claim
-- Lease the longest waiting commands of a pool to a worker; of those that go in turn, the one whose turn it is.
-- `|| ''` keeps the index of all running executions out of the plan, here and where it is asked what waits: each is found by its key.
UPDATE command c
SET status = 'running', worker_id = $2, fence = c.fence + 1, unlisted = 0, started_at = NULL, claimed_at = now(), lease_until = now() + $3::interval
FROM (SELECT w.execution_id, w.command_id, e.revision FROM command w JOIN execution e ON e.execution_id = w.execution_id AND e.status || '' = 'RUNNING'
      WHERE w.status = 'waiting' AND w.pool = $1 AND w.available_at <= now()
        AND NOT (w.serial AND EXISTS (SELECT 1 FROM command b WHERE b.execution_id = w.execution_id AND b.serial
                                      AND b.status IN ('waiting', 'running') AND b.command_id < w.command_id))
      ORDER BY w.available_at LIMIT $4 FOR UPDATE OF w SKIP LOCKED) free
WHERE c.execution_id = free.execution_id AND c.command_id = free.command_id
RETURNING c.execution_id, c.command_id, c.run_id, c.step, c.item, c.fence, c.attempt, c.lost, c.input, free.revision

-- name: heartbeat_extend
-- Extend the leases that this worker lists and still holds; the answer names them. Here and below, `|| ''` keeps the index of all that runs
-- out of the plan: each row is found by its key, however many commands have ended since that index was last cleaned.
--
-- Nothing that workers say of their leases waits for a lock (SKIP LOCKED). Whoever has a command's row locked ends it, or takes it away:
-- then there is nothing to extend. Or it is a server that was stopped in its transaction, which PostgreSQL ends after 5 s: then the next
-- heartbeat extends, long before the lease is over. Waiting would keep all other leases of this worker, and a connection, until then.
-- What is locked counts as held, but is not `extended`: whoever has it locked may be taking it away, so nothing must begin on that word.
WITH held AS MATERIALIZED (
    SELECT c.execution_id, c.command_id, c.fence
    FROM unnest($2::bigint[], $3::integer[], $4::integer[]) AS h(execution_id, command_id, fence)
    JOIN command c ON c.execution_id = h.execution_id AND c.command_id = h.command_id AND c.fence = h.fence
    WHERE c.worker_id || '' = $1 AND c.status || '' = 'running'
), free AS MATERIALIZED (
    SELECT c.execution_id, c.command_id FROM held
    JOIN command c ON c.execution_id = held.execution_id AND c.command_id = held.command_id AND c.fence = held.fence
    WHERE c.worker_id || '' = $1 AND c.status || '' = 'running'
    ORDER BY c.execution_id, c.command_id FOR UPDATE OF c SKIP LOCKED
), extended AS (
    UPDATE command c SET lease_until = now() + $5::interval, unlisted = 0 FROM free
    WHERE c.execution_id = free.execution_id AND c.command_id = free.command_id
)
SELECT held.execution_id, held.command_id, held.fence, free.command_id IS NOT NULL AS extended
FROM held LEFT JOIN free ON free.execution_id = held.execution_id AND free.command_id = held.command_id

-- name: heartbeat_unlisted
-- Count the leases of this worker that it does not list.
UPDATE command c SET unlisted = c.unlisted + 1
FROM (SELECT r.execution_id, r.command_id FROM command r
      WHERE r.worker_id = $1 AND r.status = 'running'
        AND NOT EXISTS (SELECT 1 FROM unnest($2::bigint[], $3::integer[], $4::integer[]) AS held(execution_id, command_id, fence)
                        WHERE r.execution_id = held.execution_id AND r.command_id = held.command_id AND r.fence = held.fence)
      ORDER BY r.execution_id, r.command_id FOR UPDATE SKIP LOCKED) free
WHERE c.execution_id = free.execution_id AND c.command_id = free.command_id

-- name: heartbeat_not_lost
-- A worker that was not heard of for a while lives (it was stopped, or its server was away): what was taken from it was not lost under it.
UPDATE command c SET lost = greatest(c.lost - 1, 0)
FROM (SELECT r.execution_id, r.command_id FROM unnest($1::bigint[], $2::integer[], $3::integer[]) AS held(execution_id, command_id, fence)
      JOIN command r ON r.execution_id = held.execution_id AND r.command_id = held.command_id
      WHERE r.status || '' IN ('waiting', 'running') AND r.fence BETWEEN held.fence + 1 AND held.fence + 2
      ORDER BY r.execution_id, r.command_id FOR UPDATE OF r SKIP LOCKED) free
WHERE c.execution_id = free.execution_id AND c.command_id = free.command_id

-- name: heartbeat_begun
-- A command that has lost a worker before begins now.
UPDATE command c SET started_at = now()
FROM (SELECT r.execution_id, r.command_id
      FROM unnest($2::bigint[], $3::integer[], $4::integer[]) AS held(execution_id, command_id, fence)
      JOIN command r ON r.execution_id = held.execution_id AND r.command_id = held.command_id AND r.fence = held.fence
      WHERE r.worker_id || '' = $1 AND r.status || '' = 'running'
      ORDER BY r.execution_id, r.command_id FOR UPDATE OF r SKIP LOCKED) free
WHERE c.execution_id = free.execution_id AND c.command_id = free.command_id

-- name: heartbeat_worker
WITH free AS MATERIALIZED (SELECT worker_id FROM worker WHERE worker_id = $1 FOR UPDATE SKIP LOCKED), seen AS (
    UPDATE worker w SET last_seen = now(), running = $2, status = $3 FROM free WHERE w.worker_id = free.worker_id
)
SELECT worker_id FROM worker WHERE worker_id = $1

-- name: leased_to
-- What a worker holds: asked when it repeats a report, whose answer with its next commands was lost.
SELECT c.execution_id, c.command_id, c.run_id, c.step, c.item, c.fence, c.attempt, c.lost, c.input, e.revision
FROM command c JOIN execution e ON e.execution_id = c.execution_id
WHERE c.worker_id = $1 AND c.status = 'running'
  AND NOT EXISTS (SELECT 1 FROM unnest($2::bigint[], $3::integer[], $4::integer[]) AS held(execution_id, command_id, fence)
                  WHERE c.execution_id = held.execution_id AND c.command_id = held.command_id AND c.fence = held.fence)
ORDER BY c.execution_id, c.command_id LIMIT $5

-- name: hand_back
-- A draining worker gives up leases that it has not started: no attempt and no loss is counted.
UPDATE command c SET status = 'waiting', worker_id = NULL, lease_until = NULL, claimed_at = NULL, fence = c.fence + 1
FROM (SELECT r.execution_id, r.command_id
      FROM unnest($2::bigint[], $3::integer[], $4::integer[]) AS held(execution_id, command_id, fence)
      JOIN command r ON r.execution_id = held.execution_id AND r.command_id = held.command_id AND r.fence = held.fence
      WHERE r.worker_id || '' = $1 AND r.status || '' = 'running'
      ORDER BY r.execution_id, r.command_id FOR UPDATE OF r SKIP LOCKED) free
WHERE c.execution_id = free.execution_id AND c.command_id = free.command_id
RETURNING c.execution_id, c.command_id, c.pool

-- name: requeue_worker
-- A worker's process is known to be gone: what it held waits again, unless that was once too often (the sweep ends those).
UPDATE command c
SET status = 'waiting', worker_id = NULL, lease_until = NULL, claimed_at = NULL, fence = c.fence + 1, unlisted = 0,
    lost = c.lost + CASE WHEN c.lost > 0 AND c.started_at IS NULL THEN 0 ELSE 1 END
FROM (SELECT r.execution_id, r.command_id FROM command r
      WHERE r.worker_id = $1 AND r.status = 'running' AND (r.lost < $2 OR r.started_at IS NULL)
      ORDER BY r.execution_id, r.command_id FOR UPDATE SKIP LOCKED) free
WHERE c.execution_id = free.execution_id AND c.command_id = free.command_id
RETURNING c.execution_id, c.command_id, c.pool

-- name: sweep_lock
SELECT pg_try_advisory_xact_lock(hashtextextended('noetl.sweep', 0)) AS alone, extract(epoch FROM clock_timestamp())::float8 AS at

-- name: sweep_leases
-- Leases that ran out, or that their worker twice did not list, wait again. A worker that lives and does not list a command has never heard
-- of it: only what ran out is counted as lost, and from the second time on only what the worker had said to begin (`heartbeat_begun`):
-- it may have waited its turn there.
-- What the engine itself waits for ends otherwise.
UPDATE command c
SET status = 'waiting', worker_id = NULL, lease_until = NULL, claimed_at = NULL, fence = c.fence + 1, unlisted = 0,
    lost = c.lost + CASE WHEN c.unlisted >= 2 OR (c.lost > 0 AND c.started_at IS NULL) THEN 0 ELSE 1 END
FROM (SELECT r.execution_id, r.command_id FROM command r
      WHERE r.status = 'running' AND r.pool <> '@engine' AND (r.unlisted >= 2 OR (r.lease_until < now() AND (r.lost < $1 OR r.started_at IS NULL)))
      ORDER BY r.execution_id, r.command_id LIMIT 1000 FOR UPDATE SKIP LOCKED) gone
WHERE c.execution_id = gone.execution_id AND c.command_id = gone.command_id
RETURNING c.execution_id, c.command_id, c.pool

-- name: sweep_quarantined
-- Commands whose worker was lost once too often: the caller ends them.
SELECT c.execution_id, c.command_id, c.run_id, c.item, c.fence, c.attempt, c.input, c.lost FROM command c
WHERE c.status = 'running' AND c.pool <> '@engine' AND c.lease_until < now() AND c.unlisted < 2 AND c.lost >= $1
  AND c.started_at IS NOT NULL LIMIT 100

-- name: sweep_unclaimed
-- Commands that nobody claimed for a while: their ring may be lost.
SELECT c.execution_id, c.command_id, c.pool FROM command c JOIN execution e ON e.execution_id = c.execution_id AND e.status || '' = 'RUNNING'
WHERE c.status = 'waiting' AND c.pool <> '@engine' AND c.available_at < now() - $1::interval
  AND NOT (c.serial AND EXISTS (SELECT 1 FROM command b WHERE b.execution_id = c.execution_id AND b.serial
                                AND b.status IN ('waiting', 'running') AND b.command_id < c.command_id))
ORDER BY c.available_at LIMIT 2000

-- name: engine_claim
-- Take a sub-playbook's command: from here on its child is what it waits for, until `lease_until`.
UPDATE command SET status = 'running', worker_id = '@engine', fence = fence + 1, claimed_at = now(), started_at = now(),
                   lease_until = now() + $3::interval
WHERE execution_id = $1 AND command_id = $2 AND status = 'waiting' AND pool = '@engine'
  AND EXISTS (SELECT 1 FROM execution e WHERE e.execution_id = $1 AND e.status = 'RUNNING')
RETURNING fence

-- name: engine_forgotten
-- Commands of sub-playbooks that nobody looks after: not begun, without a child, with a child that is over, or past their time. Of a
-- paused execution nothing is begun, and while it or the child is paused no time passes.
SELECT c.execution_id, c.command_id, c.status, c.fence, child.execution_id AS child, child.status AS child_status,
       c.lease_until < now() AND e.status = 'RUNNING' AND child.status IS DISTINCT FROM 'PAUSED' AS expired
FROM command c JOIN execution e ON e.execution_id = c.execution_id LEFT JOIN execution child ON child.parent_execution_id = c.execution_id AND child.parent_command_id = c.command_id
WHERE c.pool = '@engine' AND c.status IN ('waiting', 'running') AND greatest(c.available_at, c.claimed_at) < now() - interval '3 s'
  AND (child.status IN ('COMPLETED', 'FAILED', 'CANCELLED')
       OR (e.status = 'RUNNING' AND (child.execution_id IS NULL OR (child.status = 'RUNNING' AND c.lease_until < now()))))
LIMIT 100

-- name: engine_expired
-- The command of a sub-playbook that is past its time, with the child that it waits for. While either is paused no time passes.
SELECT c.fence, child.execution_id AS child
FROM command c JOIN execution e ON e.execution_id = c.execution_id
LEFT JOIN execution child ON child.parent_execution_id = c.execution_id AND child.parent_command_id = c.command_id
WHERE c.execution_id = $1 AND c.command_id = $2 AND c.status = 'running' AND c.lease_until <= now()
  AND e.status = 'RUNNING' AND child.status IS DISTINCT FROM 'PAUSED'

-- name: orphans
-- Executions that run although the one that waited for them is over.
SELECT e.execution_id FROM execution e JOIN execution p ON p.execution_id = e.parent_execution_id
LEFT JOIN command c ON c.execution_id = e.parent_execution_id AND c.command_id = e.parent_command_id
WHERE e.status IN ('RUNNING', 'PAUSED') AND e.parent_command_id IS NOT NULL
  AND (p.status NOT IN ('RUNNING', 'PAUSED') OR c.status = 'cancelled') LIMIT 100

-- name: children_stopped
-- Children that run although the command that waited for them is cancelled.
SELECT e.execution_id FROM execution e
JOIN command c ON c.execution_id = e.parent_execution_id AND c.command_id = e.parent_command_id
WHERE e.parent_execution_id = $1 AND e.status IN ('RUNNING', 'PAUSED') AND c.status = 'cancelled'

-- name: children_running
SELECT execution_id FROM execution WHERE parent_execution_id = $1 AND parent_command_id IS NOT NULL AND status IN ('RUNNING', 'PAUSED')

-- name: children_paused
-- The children that were paused together with this execution.
SELECT execution_id FROM execution
WHERE parent_execution_id = $1 AND parent_command_id IS NOT NULL AND status = 'PAUSED' AND state -> 'paused' ->> 'by' = $1::text

-- name: pauses_forgotten
-- Children that run while their parent is paused, and children that were paused with a parent that runs.
SELECT c.execution_id, c.status, c.parent_execution_id FROM execution p JOIN execution c ON c.parent_execution_id = p.execution_id
WHERE p.status = 'PAUSED' AND c.status = 'RUNNING' AND c.parent_command_id IS NOT NULL
UNION ALL
SELECT c.execution_id, c.status, c.parent_execution_id FROM execution c JOIN execution p ON p.execution_id = c.parent_execution_id
WHERE c.status = 'PAUSED' AND p.status = 'RUNNING' AND c.state -> 'paused' ->> 'by' = p.execution_id::text
LIMIT 100

-- name: pause_extends
-- Give what waits for sub-playbooks the time back in which an execution was paused: its own commands, and the one that waits for it.
UPDATE command c SET lease_until = c.lease_until + (now() - to_timestamp((locked.state -> 'paused' ->> 'at')::float8))
FROM (SELECT r.execution_id, r.command_id, e.state FROM execution e JOIN command r
      ON r.execution_id = e.execution_id OR (e.state -> 'paused' ->> 'by' IS NULL AND r.execution_id = e.parent_execution_id
                                             AND r.command_id = e.parent_command_id)
      WHERE e.execution_id = $1 AND e.status = 'PAUSED' AND r.pool = '@engine' AND r.status = 'running'
      ORDER BY r.execution_id, r.command_id FOR UPDATE OF r) locked
WHERE c.execution_id = locked.execution_id AND c.command_id = locked.command_id

-- name: waiting_of
-- Commands of an execution to ring for: each pool's first ones, and all that the engine itself does.
SELECT pool, command_id, extract(epoch FROM available_at - now())::float8 AS seconds
FROM (SELECT pool, command_id, available_at, row_number() OVER (PARTITION BY pool ORDER BY available_at, command_id) AS number
      FROM command WHERE execution_id = $1 AND status = 'waiting') w
WHERE number <= 32 OR pool = '@engine'

-- name: sweep_due
-- A paused execution wants to be woken only where it has failed, and what is in flight has until then.
SELECT execution_id FROM execution WHERE due_at < now() AND status IN ('RUNNING', 'PAUSED') ORDER BY due_at LIMIT 1000

-- name: sweep_workers
UPDATE worker SET status = 'gone' WHERE status <> 'gone' AND last_seen < now() - $1::interval

-- name: worker_hello
INSERT INTO worker (worker_id, name, pool, host, pid, version, slots, status) VALUES ($1, $2, $3, $4, $5, $6, $7, 'ready')
ON CONFLICT (worker_id) DO UPDATE SET status = 'ready', last_seen = now(), slots = excluded.slots

-- name: worker_bye
UPDATE worker SET status = 'gone', running = 0, last_seen = now() WHERE worker_id = $1

-- name: workers
SELECT worker_id, name, pool, host, pid, version, status, slots, running, started_at, last_seen FROM worker
WHERE status <> 'gone' OR last_seen > now() - interval '1 hour' ORDER BY name, started_at DESC

-- name: pools
-- What a paused execution holds back waits for no worker.
SELECT p.pool, (SELECT count(*) FROM worker w WHERE w.pool = p.pool AND w.status = 'ready') AS workers,
       (SELECT coalesce(sum(w.slots), 0) FROM worker w WHERE w.pool = p.pool AND w.status = 'ready') AS slots,
       (SELECT count(*) FROM command c JOIN execution e ON e.execution_id = c.execution_id AND e.status = 'RUNNING'
        WHERE c.pool = p.pool AND c.status = 'waiting') AS waiting,
       (SELECT count(*) FROM command c WHERE c.pool = p.pool AND c.status = 'running') AS running
FROM (SELECT pool FROM worker WHERE status <> 'gone' UNION SELECT pool FROM command WHERE status = 'waiting') p ORDER BY p.pool

-- name: executions
SELECT execution_id, path, version, catalog_id, status, start_time, end_time, parent_execution_id, error, continues,
       (SELECT max(n.execution_id) FROM execution n WHERE n.continues = execution.execution_id) AS continued_by,
       extract(epoch FROM coalesce(end_time, now()) - start_time)::float8 AS duration
FROM execution
WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR path = $2) AND ($3::bigint IS NULL OR execution_id < $3)
  AND ($4::bigint IS NULL OR parent_execution_id = $4)
  -- An id begins with the time: those from `$6` on are the only ones that may have begun since.
  AND ($6::bigint IS NULL OR execution_id >= $6) AND ($7::timestamptz IS NULL OR start_time >= $7)
ORDER BY execution_id DESC LIMIT $5

-- name: cancelled
-- What a cancelling stopped, by step: commands that ran and that waited, items of loops that were not begun. `$2` is a moment before it.
SELECT step, sum(running)::integer AS running, sum(waiting)::integer AS waiting, sum(items)::integer AS items
FROM (SELECT step, run_id, count(*) FILTER (WHERE claimed_at IS NOT NULL AND pool <> '@engine') AS running,
             count(*) FILTER (WHERE claimed_at IS NULL) AS waiting, 0 AS items
      FROM command WHERE execution_id = $1 AND status = 'cancelled' AND finished_at >= $2 GROUP BY step, run_id
      UNION ALL
      SELECT step, run_id, 0, 0, total - issued FROM loop WHERE execution_id = $1 AND closed_at >= $2 AND cancelled > 0) s
GROUP BY step HAVING sum(running) + sum(waiting) + sum(items) > 0 ORDER BY min(run_id) LIMIT 100

-- name: cancelled_children
-- The sub-playbooks that a cancelling cancels with it, or has cancelled.
SELECT e.execution_id, e.path FROM execution e JOIN command c ON c.execution_id = e.parent_execution_id AND c.command_id = e.parent_command_id
WHERE e.parent_execution_id = $1 AND c.status = 'cancelled' AND c.finished_at >= $2 ORDER BY e.execution_id LIMIT 100

-- name: prune_count
-- The executions that a prune takes, by status.
SELECT status, count(*) AS count, min(end_time) AS first, max(end_time) AS last FROM prunable($1, $2, $3, $4) GROUP BY status ORDER BY status

-- name: prune_batch
-- Some of them, oldest first, but not what another transaction holds.
SELECT e.execution_id FROM prunable($1, $2, $3, $4) p JOIN execution e ON e.execution_id = p.execution_id
ORDER BY p.execution_id LIMIT $5 FOR UPDATE OF e SKIP LOCKED

-- name: prune_delete
WITH commands AS (DELETE FROM command WHERE execution_id = ANY($1::bigint[])),
     loops AS (DELETE FROM loop WHERE execution_id = ANY($1)),
     items AS (DELETE FROM loop_items WHERE execution_id = ANY($1)),
     pages AS (DELETE FROM page WHERE execution_id = ANY($1)),
     events AS (DELETE FROM history WHERE execution_id = ANY($1)),
     variables AS (DELETE FROM variable WHERE execution_id = ANY($1)),
     chunks AS (DELETE FROM chunk WHERE execution_id = ANY($1)),
     uploads AS (DELETE FROM upload WHERE execution_id = ANY($1)),
     files AS (DELETE FROM file WHERE execution_id = ANY($1))
DELETE FROM execution WHERE execution_id = ANY($1) RETURNING execution_id

-- name: execution
SELECT execution_id, path, version, catalog_id, status, start_time, end_time, parent_execution_id, error, payload, state, continues,
       (SELECT max(n.execution_id) FROM execution n WHERE n.continues = execution.execution_id) AS continued_by,
       extract(epoch FROM coalesce(end_time, now()) - start_time)::float8 AS duration
FROM execution WHERE execution_id = $1

-- name: retry_lock
-- Of those who continue an execution at the same moment, one comes first; the others see what it has begun.
SELECT c.execution_id FROM (SELECT execution_id FROM execution WHERE execution_id = $1 FOR UPDATE) e
LEFT JOIN execution c ON c.continues = e.execution_id AND c.status IN ('RUNNING', 'PAUSED')

-- name: retry_runs
-- The first command of each of these runs, or of the last run of a step: what the run was entered with.
SELECT DISTINCT ON (run_id) step, run_id, input FROM command
WHERE execution_id = $1 AND item IS NULL AND (run_id = ANY($2::integer[]) OR step = $3) ORDER BY run_id, command_id

-- name: retry_loops
SELECT step, run_id, args, loop_results, total, done, failed, cancelled FROM loop
WHERE execution_id = $1 AND (run_id = ANY($2::integer[]) OR step = $3) ORDER BY run_id

-- name: retry_items
-- The items of a loop whose last command is done.
SELECT item FROM (SELECT DISTINCT ON (item) item, status FROM command
                  WHERE execution_id = $1 AND run_id = $2 AND item IS NOT NULL ORDER BY item, command_id DESC) l
WHERE status = 'done' ORDER BY item

-- name: retry_copy_commands
-- What was done, but for these runs: `$3`. Of those in `$4`, that are loops, the items that are done.
INSERT INTO command (execution_id, command_id, run_id, step, item, kind, pool, status, fence, worker_id, attempt, lost, input, result, error,
                     created_at, available_at, claimed_at, started_at, finished_at)
SELECT $2, command_id, run_id, step, item, kind, pool, status, fence, worker_id, attempt, lost, input, result, error,
       created_at, available_at, claimed_at, started_at, finished_at
FROM (SELECT c.*, CASE WHEN c.run_id = ANY($4::integer[])
                       THEN last_value(c.status) OVER (PARTITION BY c.run_id, c.item ORDER BY c.command_id
                                                       ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) END AS ended
      FROM command c WHERE c.execution_id = $1 AND NOT c.run_id = ANY($3::integer[])) k
WHERE status IN ('done', 'failed') AND (NOT run_id = ANY($4::integer[]) OR (ended = 'done' AND item IS NOT NULL))

-- name: retry_copy_chunks
-- The pieces of the results that were copied.
INSERT INTO chunk (execution_id, command_id, fence, number, size, body)
SELECT $2, k.command_id, k.fence, k.number, k.size, k.body
FROM command c JOIN chunk k ON k.execution_id = $1 AND k.command_id = c.command_id AND k.fence = c.fence
WHERE c.execution_id = $2 AND c.status = 'done' AND c.result IS NULL

-- name: retry_copy_file
-- The file as it stood at the end.
INSERT INTO file (execution_id, command_id, fence, size, whole, settled)
SELECT $2, 0, 0, f.size, true, true FROM file f WHERE f.execution_id = $1 AND f.command_id = $3 AND f.fence = $4

-- name: retry_copy_pieces
INSERT INTO file_piece (execution_id, command_id, fence, number, size, body)
SELECT $2, 0, 0, p.number, p.size, p.body FROM file_piece p WHERE p.execution_id = $1 AND p.command_id = $3 AND p.fence = $4

-- name: retry_copy_loops
INSERT INTO loop (execution_id, run_id, step, iterator, total, issued, done, failed, cancelled, closed, args, loop_results, result,
                  created_at, closed_at)
SELECT $2, run_id, step, iterator, total, issued, done, failed, cancelled, closed, args, loop_results, result, created_at, closed_at
FROM loop WHERE execution_id = $1 AND NOT run_id = ANY($3::integer[]) AND NOT run_id = ANY($4::integer[])

-- name: retry_copy_loop
-- A loop that goes on: `$4` of its items are done, `$5` are still to be issued.
INSERT INTO loop (execution_id, run_id, step, iterator, total, issued, done, failed, cancelled, closed, args, loop_results, created_at, redo)
SELECT $2, run_id, step, iterator, total, $4, $4, 0, 0, false, args, loop_results, created_at, $5::json
FROM loop WHERE execution_id = $1 AND run_id = $3

-- name: retry_copy_items
INSERT INTO loop_items (execution_id, run_id, chunk, items)
SELECT $2, run_id, chunk, items FROM loop_items WHERE execution_id = $1 AND NOT run_id = ANY($3::integer[])

-- name: retry_copy_variables
INSERT INTO variable (execution_id, name, value, type, source_step, created_at)
SELECT $2, name, value, type, source_step, created_at FROM variable WHERE execution_id = $1

-- name: retry_begun
UPDATE execution SET continues = $2 WHERE execution_id = $1

-- name: why_execution
SELECT execution_id, catalog_id, path, version, status, start_time, end_time, error, state, due_at FROM execution WHERE execution_id = $1

-- name: why_child
SELECT execution_id, catalog_id, path, version, status, start_time, end_time, error, state, due_at FROM execution
WHERE parent_execution_id = $1 AND parent_command_id = $2

-- name: why_commands
-- What waits and what runs, in groups of one situation: a run's commands that wait in a pool, or are leased to one worker.
SELECT a.step, a.run_id, a.pool, a.status, a.delayed, a.held, a.count, a.command_id, a.attempt, a.lost, a.since, a.available_at, a.claimed_at,
       a.lease_until, a.worker_id, w.name AS worker_name, w.host, w.pid, w.status AS worker_status, w.last_seen, f.error
FROM (SELECT step, run_id, pool, status, delayed, held, worker_id, count(*) AS count,
             min(command_id) AS command_id, max(attempt) AS attempt, max(lost) AS lost, min(greatest(created_at, least(available_at, now()))) AS since,
             min(available_at) AS available_at, min(claimed_at) AS claimed_at, min(lease_until) AS lease_until
      FROM (SELECT *, status = 'waiting' AND available_at > now() AS delayed,
                   status = 'waiting' AND serial AND command_id > min(command_id) FILTER (WHERE serial) OVER () AS held
            FROM command WHERE execution_id = $1 AND status IN ('waiting', 'running')) c
      GROUP BY step, run_id, pool, status, delayed, held, worker_id) a
LEFT JOIN worker w ON w.worker_id = a.worker_id
LEFT JOIN LATERAL (SELECT error FROM command e WHERE a.delayed AND e.execution_id = $1 AND e.step = a.step AND e.run_id = a.run_id
                   AND e.error IS NOT NULL ORDER BY e.command_id DESC LIMIT 1) f ON true
ORDER BY a.status DESC, a.command_id LIMIT 100

-- name: why_loops
SELECT step, run_id, total, issued, done, failed, cancelled, created_at FROM loop WHERE execution_id = $1 AND NOT closed ORDER BY run_id LIMIT 20

-- name: why_error
SELECT step, error FROM command WHERE execution_id = $1 AND error IS NOT NULL ORDER BY command_id DESC LIMIT 1

-- name: why_failed
-- The commands that failed last of each run of those that did not end well, and of a step; those of the step that is blamed first.
SELECT step, run_id, item, attempt, lost, error, finished_at, count FROM (
    SELECT DISTINCT ON (run_id) step, run_id, item, attempt, lost, error, finished_at, count(*) OVER (PARTITION BY run_id) AS count
    FROM command WHERE execution_id = $1 AND status = 'failed' AND (run_id = ANY($3) OR step = $4) ORDER BY run_id, command_id DESC) f
ORDER BY step IS DISTINCT FROM $2, run_id DESC LIMIT 5

-- name: why_pool
SELECT w.name, w.status, w.slots, w.last_seen,
       (SELECT count(*) FROM command c WHERE c.worker_id = w.worker_id AND c.status = 'running') AS leases
FROM worker w WHERE w.pool = $1 AND (w.status <> 'gone' OR w.last_seen > now() - interval '7 days') ORDER BY w.name LIMIT 200

-- name: why_busy
SELECT e.path, c.step, c.execution_id, count(*) AS count
FROM worker w JOIN command c ON c.worker_id = w.worker_id AND c.status = 'running' JOIN execution e ON e.execution_id = c.execution_id
WHERE w.pool = $1 AND w.status = 'ready' GROUP BY e.path, c.step, c.execution_id ORDER BY count(*) DESC LIMIT 3

-- name: events
-- An execution's events with the results that they lead to. Loops' aggregates are read apart. Each event finds its command by the key.
WITH page AS MATERIALIZED (
    SELECT seq, event_type, step, run_id, item, command_id, status, detail, error, created_at FROM event
    WHERE execution_id = $1 AND seq > $2 AND last_seq > $2 AND first_seq <= $2 + $3 ORDER BY seq LIMIT $3
)
SELECT p.seq, p.event_type, p.step, p.run_id, p.item, p.command_id, p.status, p.detail, p.error, p.created_at,
       CASE WHEN p.event_type IN ('call.done', 'step.exit') THEN c.result END AS result,
       CASE WHEN p.event_type IN ('call.done', 'step.exit') AND c.status = 'done' AND c.result IS NULL THEN
           (SELECT sum(k.size) FROM chunk k WHERE k.execution_id = $1 AND k.command_id = c.command_id AND k.fence = c.fence)
       END AS stored, c.fence,
       CASE WHEN p.event_type IN ('call.done', 'call.error', 'step.exit')
            THEN extract(epoch FROM c.finished_at - coalesce(c.started_at, c.claimed_at))::float8 END AS duration
FROM page p LEFT JOIN LATERAL (SELECT * FROM command WHERE execution_id = $1 AND command_id = p.command_id LIMIT 1) c ON true ORDER BY p.seq

-- name: steps
-- One row a run of a step.
WITH runs AS (
    SELECT step, run_id, min(command_id) AS first, max(command_id) AS latest, max(command_id) FILTER (WHERE error IS NOT NULL) AS failed,
           max(command_id) FILTER (WHERE kind NOT LIKE 'sink:%') AS called, bool_or(status = 'waiting') AS waiting,
           count(*) FILTER (WHERE status = 'running') AS running, max(attempt) AS attempts, sum(lost) AS lost,
           min(coalesce(started_at, claimed_at)) AS started_at, max(finished_at) AS ended_at, min(created_at) AS created_at
    FROM command WHERE execution_id = $1 GROUP BY run_id, step
)
SELECT r.step, r.run_id, first.kind, r.running, r.waiting, r.attempts, r.lost, r.started_at, r.ended_at, r.created_at, latest.worker_id,
       failed.error::text AS error, called.status AS last,
       l.total, l.done AS loop_done, l.failed AS loop_failed, l.cancelled AS loop_cancelled, l.closed, l.closed_at
FROM runs r
JOIN command first ON first.execution_id = $1 AND first.command_id = r.first
JOIN command latest ON latest.execution_id = $1 AND latest.command_id = r.latest
LEFT JOIN command failed ON failed.execution_id = $1 AND failed.command_id = r.failed
LEFT JOIN command called ON called.execution_id = $1 AND called.command_id = r.called
LEFT JOIN loop l ON l.execution_id = $1 AND l.run_id = r.run_id
UNION ALL
SELECT l.step, l.run_id, '', 0, false, 1, 0, l.created_at, l.closed_at, l.created_at, NULL, NULL, NULL,
       l.total, l.done, l.failed, l.cancelled, l.closed, l.closed_at
FROM loop l WHERE l.execution_id = $1 AND l.total = 0
ORDER BY run_id

-- name: steps_skipped
-- The runs of steps that were skipped: they have no commands, only an event.
SELECT step, run_id, created_at FROM event WHERE execution_id = $1 AND event_type = 'step.skipped' ORDER BY seq LIMIT 1000

-- name: status_counts
SELECT (SELECT count(*) FROM execution WHERE status = 'RUNNING') AS running,
       (SELECT count(*) FROM command c JOIN execution e ON e.execution_id = c.execution_id AND e.status = 'RUNNING'
        WHERE c.status = 'waiting') AS waiting,
       (SELECT count(*) FROM command WHERE status = 'running') AS leased

-- name: variables
SELECT name, value, type, source_step, created_at, accessed_at, access_count FROM variable WHERE execution_id = $1 ORDER BY name

-- name: variable_read
UPDATE variable SET accessed_at = now(), access_count = access_count + 1 WHERE execution_id = $1 AND ($2::text IS NULL OR name = $2)
RETURNING name, value, type, source_step, created_at, accessed_at, access_count

-- name: variable_write
INSERT INTO variable (execution_id, name, value, type, source_step)
SELECT $1, name, value::json, $4, $5 FROM unnest($2::text[], $3::text[]) AS given(name, value)
ON CONFLICT (execution_id, name) DO UPDATE
SET value = excluded.value, type = excluded.type, source_step = excluded.source_step, updated_at = now()

-- name: variable_delete
DELETE FROM variable WHERE execution_id = $1 AND ($2::text IS NULL OR name = $2) RETURNING name

-- name: touch_execution
-- Whoever has this execution in memory must read it again.
UPDATE execution SET revision = revision + 1 WHERE execution_id = $1 RETURNING execution_id

-- name: credential_write
INSERT INTO credential (name, type, data, meta, tags, description) VALUES ($1, $2, $3, $4::json, $5, $6)
ON CONFLICT (name) DO UPDATE
SET type = excluded.type, data = excluded.data, meta = excluded.meta, tags = excluded.tags, description = excluded.description,
    updated_at = now()

-- name: credential
SELECT name, type, data, meta, tags, description, created_at, updated_at FROM credential WHERE name = $1

-- name: credentials
SELECT name, type, meta, tags, description, created_at, updated_at FROM credential ORDER BY name

-- name: credential_delete
DELETE FROM credential WHERE name = $1 RETURNING name

-- name: property
SELECT value FROM property WHERE name = $1

-- name: property_once
-- Set a property that is not set; the answer is what it is afterwards.
WITH added AS (INSERT INTO property (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING value)
SELECT value FROM added UNION ALL SELECT value FROM property WHERE name = $1 LIMIT 1

-- name: ping
SELECT 1

-- name: clock
SELECT extract(epoch FROM clock_timestamp())::float8

-- name: migration_count
SELECT count(*) FROM migrations

-- name: pool_waits
SELECT EXISTS (SELECT 1 FROM command c JOIN execution e ON e.execution_id = c.execution_id AND e.status || '' = 'RUNNING'
               WHERE c.pool = $1 AND c.status = 'waiting' AND c.available_at <= now())

-- name: schema_exists
SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)

-- name: schema_shape
-- What a schema is made of, comparable between schemas of different names.
SELECT 'column ' || table_name || '.' || column_name AS thing,
       coalesce(domain_name, data_type) || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END AS detail
FROM information_schema.columns WHERE table_schema = $1
UNION ALL
SELECT 'index ' || indexname, replace(indexdef, $1 || '.', '') FROM pg_indexes WHERE schemaname = $1
UNION ALL
SELECT 'function ' || p.proname, md5(p.prosrc) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1
UNION ALL
SELECT 'trigger ' || t.tgname, c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND NOT t.tgisinternal
UNION ALL
SELECT 'constraint ' || k.conname, replace(pg_get_constraintdef(k.oid), $1 || '.', '') FROM pg_constraint k
JOIN pg_namespace n ON n.oid = k.connamespace WHERE n.nspname = $1 AND k.contype <> 'n'

-- name: migrate_lock
SELECT pg_advisory_xact_lock(hashtextextended('noetl.migrate', 0))

-- name: migrations_table
CREATE TABLE IF NOT EXISTS migrations (
    name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
)

-- name: migrations_applied
SELECT name, checksum FROM migrations

-- name: migration_done
INSERT INTO migrations (name, checksum) VALUES ($1, $2)
