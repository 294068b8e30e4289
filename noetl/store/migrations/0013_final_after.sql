-- What keeps an execution's end final looks at an update once it is made. Looking before cost a lock of the row, with a record of its own in
-- the log, at every update: 3 % of PostgreSQL's time for a step.
DROP TRIGGER execution_is_final ON execution;
CREATE TRIGGER execution_is_final AFTER UPDATE ON execution FOR EACH ROW
    WHEN (OLD.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND NEW.status IS DISTINCT FROM OLD.status)
    EXECUTE FUNCTION execution_is_final();
