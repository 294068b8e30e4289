-- The schema of the first version. Times are timestamptz; JSON that is only kept is `json` (its text as it came), not `jsonb`.

CREATE TABLE catalog (
    catalog_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    path         text NOT NULL,
    version      integer NOT NULL,
    kind         text NOT NULL DEFAULT 'Playbook',
    name         text NOT NULL,
    description  text NOT NULL DEFAULT '',
    labels       json NOT NULL DEFAULT '{}',
    content      text NOT NULL,
    content_hash text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (path, version)
);

-- One row an execution. `state` is the engine's, `revision` counts its transitions: a server that has an older one in its memory
-- cannot write. `due_at` is when the engine wants to be woken.
CREATE TABLE execution (
    execution_id        bigint PRIMARY KEY,
    catalog_id          bigint NOT NULL REFERENCES catalog,
    path                text NOT NULL,
    version             integer NOT NULL,
    status              text NOT NULL CHECK (status IN ('RUNNING', 'PAUSED', 'COMPLETED', 'FAILED', 'CANCELLED')),
    revision            bigint NOT NULL DEFAULT 0,
    state               json NOT NULL,
    payload             json NOT NULL,
    workload            json NOT NULL,
    error               json,
    parent_execution_id bigint,
    parent_command_id   integer,
    depth               integer NOT NULL DEFAULT 0,
    due_at              timestamptz,
    start_time          timestamptz NOT NULL,
    end_time            timestamptz,
    CHECK ((end_time IS NULL) = (status IN ('RUNNING', 'PAUSED')))
) WITH (fillfactor = 70);
CREATE INDEX execution_due ON execution (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX execution_listing ON execution (status, execution_id DESC);
CREATE INDEX execution_path ON execution (path, execution_id DESC);
CREATE INDEX execution_parent ON execution (parent_execution_id) WHERE parent_execution_id IS NOT NULL;
CREATE UNIQUE INDEX execution_child ON execution (parent_execution_id, parent_command_id) WHERE parent_command_id IS NOT NULL;

CREATE FUNCTION execution_is_final() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'execution % is %: a terminal status is final', OLD.execution_id, OLD.status USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER execution_is_final BEFORE UPDATE ON execution FOR EACH ROW
    WHEN (OLD.status IN ('COMPLETED', 'FAILED', 'CANCELLED') AND NEW.status IS DISTINCT FROM OLD.status)
    EXECUTE FUNCTION execution_is_final();

-- One row a command: a tool call that a worker makes. A lease is worker + fence + lease_until; every lease has a higher fence.
-- The result of a step that has no loop, or of a loop's item, is here and nowhere else. A sink's command has the kind `sink:…`.
CREATE TABLE command (
    execution_id bigint NOT NULL,
    command_id   integer NOT NULL,
    run_id       integer NOT NULL,
    step         text NOT NULL,
    item         integer,
    kind         text NOT NULL,
    pool         text NOT NULL,
    status       text NOT NULL CHECK (status IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    fence        integer NOT NULL DEFAULT 0,
    worker_id    text,
    lease_until  timestamptz,
    unlisted     smallint NOT NULL DEFAULT 0,
    attempt      integer NOT NULL DEFAULT 1,
    lost         integer NOT NULL DEFAULT 0,
    input        json NOT NULL DEFAULT '{}',
    result       json,
    error        json,
    created_at   timestamptz NOT NULL DEFAULT now(),
    available_at timestamptz NOT NULL DEFAULT now(),
    claimed_at   timestamptz,
    started_at   timestamptz,
    finished_at  timestamptz,
    PRIMARY KEY (execution_id, command_id)
) WITH (fillfactor = 80);
CREATE INDEX command_step ON command (execution_id, step, run_id);
CREATE INDEX command_waiting ON command (pool, available_at) WHERE status = 'waiting';
CREATE INDEX command_running ON command (worker_id, lease_until) WHERE status = 'running';

-- One row a loop: its counts. The items are in `loop_items`, each item's result in its command.
CREATE TABLE loop (
    execution_id bigint NOT NULL,
    run_id       integer NOT NULL,
    step         text NOT NULL,
    iterator     text NOT NULL,
    total        integer NOT NULL,
    issued       integer NOT NULL,
    done         integer NOT NULL,
    failed       integer NOT NULL,
    cancelled    integer NOT NULL,
    closed       boolean NOT NULL,
    args         json NOT NULL,
    loop_results integer,
    result       json,
    created_at   timestamptz NOT NULL DEFAULT now(),
    closed_at    timestamptz,
    PRIMARY KEY (execution_id, run_id),
    CHECK (done + failed + cancelled <= total),
    CHECK (NOT closed OR done + failed + cancelled = total)
) WITH (fillfactor = 70);
CREATE INDEX loop_step ON loop (execution_id, step, run_id);

CREATE TABLE loop_items (
    execution_id bigint NOT NULL,
    run_id       integer NOT NULL,
    chunk        integer NOT NULL,
    items        json NOT NULL,
    PRIMARY KEY (execution_id, run_id, chunk)
);

-- What the calls of a pagination collected; `item` is -1 outside a loop.
CREATE TABLE page (
    execution_id bigint NOT NULL,
    run_id       integer NOT NULL,
    item         integer NOT NULL,
    number       integer NOT NULL,
    value        json NOT NULL,
    PRIMARY KEY (execution_id, run_id, item, number)
);

CREATE TABLE event (
    execution_id bigint NOT NULL,
    seq          integer NOT NULL,
    event_type   text NOT NULL,
    step         text,
    run_id       integer,
    item         integer,
    command_id   integer,
    status       text,
    detail       json,
    error        json,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (execution_id, seq)
);

CREATE TABLE variable (
    execution_id bigint NOT NULL,
    name         text NOT NULL,
    value        json NOT NULL,
    type         text NOT NULL,
    source_step  text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    accessed_at  timestamptz,
    access_count integer NOT NULL DEFAULT 0,
    PRIMARY KEY (execution_id, name)
);

-- `data` is AES-256-GCM: nonce, then ciphertext with its tag; the name is bound to it as associated data.
CREATE TABLE credential (
    name        text PRIMARY KEY,
    type        text NOT NULL,
    data        bytea NOT NULL,
    meta        json NOT NULL DEFAULT '{}',
    tags        text[] NOT NULL DEFAULT '{}',
    description text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- What this database was written with: `encryption_key` is a check value, not the key.
CREATE TABLE property (
    name  text PRIMARY KEY,
    value text NOT NULL
);

CREATE TABLE worker (
    worker_id  text PRIMARY KEY,
    name       text NOT NULL,
    pool       text NOT NULL,
    host       text NOT NULL,
    pid        integer NOT NULL,
    version    text NOT NULL,
    slots      integer NOT NULL,
    running    integer NOT NULL DEFAULT 0,
    status     text NOT NULL CHECK (status IN ('ready', 'draining', 'gone')),
    started_at timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX worker_name ON worker (name, started_at DESC);
