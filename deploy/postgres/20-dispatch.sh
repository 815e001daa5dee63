#!/bin/sh
# Run once by the PostgreSQL image, in an empty cluster: the role and the database of the server. The role owns its
# database and nothing else; the extensions, which only a superuser may make, are made here.
set -eu
psql -X -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\set password `cat /run/secrets/dispatch_password`
SET password_encryption = 'scram-sha-256';
CREATE ROLE dispatch LOGIN PASSWORD :'password';
CREATE DATABASE dispatch OWNER dispatch;
\connect dispatch
CREATE EXTENSION postgis;
CREATE EXTENSION pg_stat_statements;
GRANT pg_read_all_stats TO dispatch;
SQL
