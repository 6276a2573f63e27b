#!/bin/bash
# Runs once, on the first start of the database container: one database and one role per service. A role owns its
# database and may connect to no other one.
set -euo pipefail
for service in project epro finance monitor; do
  variable=${service^^}_DB_PASSWORD
  psql -v ON_ERROR_STOP=1 --no-psqlrc -U "$POSTGRES_USER" -d postgres \
    -v role="$service" -v password="${!variable:?set $variable}" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"role" OWNER :"role";
REVOKE CONNECT ON DATABASE :"role" FROM PUBLIC;
SQL
done
