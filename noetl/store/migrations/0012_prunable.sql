-- The executions that a prune takes: those that ended before a moment, of a status and of a path where these are given, but neither what belongs
-- to an execution that is not over nor what such a one belongs to. `before_id` is the first id of that moment. A statement that reads from it
-- is planned with it as with a view. The two questions about relatives are asked of each execution by itself: as joins they would read every one.
CREATE FUNCTION prunable(before_id bigint, before timestamptz, of_status text, of_path text) RETURNS SETOF execution
LANGUAGE sql STABLE AS $$
    SELECT e.* FROM execution e
    WHERE e.execution_id < before_id AND e.end_time < before AND (of_status IS NULL OR e.status = of_status) AND (of_path IS NULL OR e.path = of_path)
      AND (SELECT p.end_time IS NULL FROM execution p WHERE p.execution_id = e.parent_execution_id) IS NOT TRUE
      AND (SELECT bool_or(c.end_time IS NULL) FROM execution c WHERE c.parent_execution_id = e.execution_id) IS NOT TRUE
$$;
