# Prepares the first primary of docker-compose.cluster.yml for a standby; its image runs this once, after the roles
# are made. From its first real start on, it commits nothing that its standby has not written down.
docker_process_sql -v password="$ROLES_PASSWORD" <<'SQL'
create role standby replication login password :'password';
-- What a primary that comes back reads of the other one, to undo what that one does not have.
grant execute on function pg_ls_dir(text, boolean, boolean) to standby;
grant execute on function pg_stat_file(text, boolean) to standby;
grant execute on function pg_read_binary_file(text) to standby;
grant execute on function pg_read_binary_file(text, bigint, bigint, boolean) to standby;
alter system set synchronous_standby_names = 'first 1 (postgres_1, postgres_2)';
-- How much of its log it keeps for that, and for a standby that was away; and how soon one of them notices a loss.
alter system set wal_keep_size = '1GB';
alter system set wal_sender_timeout = '5s';
alter system set wal_receiver_timeout = '5s';
alter system set wal_receiver_status_interval = '1s';
SQL
printf 'host replication standby all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
