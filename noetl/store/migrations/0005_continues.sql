-- An execution may continue an earlier one: with copies of what that had done, and loops that go on with the items that it had left.

ALTER TABLE execution ADD COLUMN continues bigint;
CREATE INDEX execution_continues ON execution (continues) WHERE continues IS NOT NULL;

-- The numbers of the items that are still to be issued when the loop begins to go on, in their order.
ALTER TABLE loop ADD COLUMN redo json;
