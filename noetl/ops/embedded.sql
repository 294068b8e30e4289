-- Roles and databases of the embedded PostgreSQL; read by psql, which has the passwords as variables.
\set ON_ERROR_STOP on

SELECT format('CREATE ROLE %I LOGIN', name)
  FROM unnest(ARRAY['noetl', 'playbooks']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec

ALTER ROLE noetl PASSWORD :'noetl_password';
ALTER ROLE playbooks PASSWORD :'playbooks_password';

SELECT format('CREATE DATABASE %I OWNER %I', name, name)
  FROM unnest(ARRAY['noetl', 'playbooks']) AS name
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name)
\gexec

-- The role that playbooks use reaches its own database and no other.
REVOKE CONNECT, TEMPORARY ON DATABASE noetl, playbooks, postgres, template1 FROM PUBLIC;
