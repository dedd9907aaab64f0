#!/usr/bin/env bash
# What docs/clients.md says of psql; python/psql.py gives it the same.
# snippet
export PGPASSWORD=$(aws dsql generate-db-connect-admin-auth-token --hostname "$DSQL_ENDPOINT" --region "$AWS_REGION")
psql "host=$DSQL_ENDPOINT port=$DSQL_PORT user=admin dbname=postgres sslmode=verify-full sslrootcert=$DSQL_CA_FILE"
# psql 17 and later: add sslnegotiation=direct, which saves a round trip
# end
