-- Only a table's key begins with an execution's id. A plan that is made before the tables are known would else take the index of steps for
-- rows that are named by their key, and read all commands of the execution for each of them.
DROP INDEX command_step;
CREATE INDEX command_step ON command (step, execution_id, run_id);
DROP INDEX loop_step;
CREATE INDEX loop_step ON loop (step, execution_id, run_id);
