-- What is too large for a row of its command: its text in compressed pieces, written before the command's end is reported.

-- Pieces count when the command is done under this fence and has no `result` of its own; all others are swept away. `size` is the piece's
-- length before compression, `body` is a zlib stream.
CREATE TABLE chunk (
    execution_id bigint NOT NULL,
    command_id   integer NOT NULL,
    fence        integer NOT NULL,
    number       integer NOT NULL,
    size         integer NOT NULL,
    body         bytea NOT NULL,
    PRIMARY KEY (execution_id, command_id, fence, number)
);
ALTER TABLE chunk ALTER COLUMN body SET STORAGE EXTERNAL;

-- Uploads whose lease has not been seen to end yet: what the sweep looks at.
CREATE TABLE upload (
    execution_id bigint NOT NULL,
    command_id   integer NOT NULL,
    fence        integer NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (execution_id, command_id, fence)
);
