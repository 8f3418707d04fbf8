#!/usr/bin/env bash
# Starts one of the two Postgres of docker-compose.cluster.yml, as what it has to be now: while the other one is a
# primary, it is a standby. A primary that was lost undoes what the other does not have (nobody was told that this was
# committed), and follows it. Who becomes primary is said by a person or a program: `pg_promote()`. Nothing here does.
#
# It asks OTHER, the other one's name. FIRST=yes makes the database where neither has one.
set -euo pipefail

export PGPASSWORD=${ROLES_PASSWORD:?}
other="host=$OTHER user=standby dbname=${POSTGRES_DB:?} connect_timeout=3"
myself=${HOSTNAME//-/_}

say() { printf 'cluster: %s\n' "$1" >&2; }
other_is_primary() { [[ $(psql -XAtq "$other" -c 'select not pg_is_in_recovery()' 2>/dev/null) == t ]]; }
as_postgres() { if ((EUID == 0)); then setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; else "$@"; fi; }

follow() {
  as_postgres touch "$PGDATA/standby.signal"
  as_postgres tee -a "$PGDATA/postgresql.auto.conf" >/dev/null \
    <<<"primary_conninfo = 'host=$OTHER user=standby password=$ROLES_PASSWORD application_name=$myself'"
}

if [[ ! -s $PGDATA/PG_VERSION && ${FIRST-} != yes ]]; then
  say "copies $OTHER, once it is there"
  until other_is_primary; do sleep 1; done
  mkdir -p "$PGDATA"
  ((EUID != 0)) || chown -R postgres: "$PGDATA"
  chmod 700 "$PGDATA"
  as_postgres pg_basebackup -d "$other" -D "$PGDATA" -X stream -c fast
  follow
elif [[ -s $PGDATA/PG_VERSION && ! -e $PGDATA/standby.signal ]] && other_is_primary; then
  say "$OTHER is the primary now: undoes what that one does not have, and follows it"
  as_postgres pg_rewind --target-pgdata="$PGDATA" --source-server="$other" --no-sync
  follow
fi
unset PGPASSWORD
exec docker-entrypoint.sh postgres
