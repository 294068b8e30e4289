-- The commands of sub-playbooks that wait or run: the sweep looks for forgotten ones, and without this it read every command there ever was.
CREATE INDEX command_engine ON command (available_at) WHERE pool = '@engine' AND status IN ('waiting', 'running');
