#!/usr/bin/env bash
# Deploys the five API functions and heys-backup to Yandex Cloud Functions.
#
#   examples/functions/deploy.sh              dry run: packs, then prints every yc call; changes nothing
#   examples/functions/deploy.sh --run        makes the calls (needs yc, logged in)
#   examples/functions/deploy.sh heys-backup  only the functions named
#
# No secret is read or printed: the functions get theirs from Lockbox. Settings, from the environment:
#   FOLDER_ID, SERVICE_ACCOUNT_ID   of the functions, printed as <FOLDER_ID> and <SERVICE_ACCOUNT_ID> when not set
#   LOCKBOX_ID, LOCKBOX_VERSION     the Lockbox secret that holds the keys named in SECRETS below
#   NETWORK_ID                      the network of the database's cluster
#   PG_HOST, PG_DATABASE, PG_USER   plain settings of the database
#   S3_BUCKET, DEPLOY_BUCKET        of the backups; of function packages above 3.5 MB
#   PG_ROOT_CERT_FILE               the cluster's CA certificate, packed as certs/root.crt
#   RUNTIME                         nodejs22
#   SKIP_PACKAGING=1                takes the packages of the last run; NO_BUILD=1 packs the last build
set -euo pipefail
cd "$(dirname "$0")/../.."

RUN=0
NAMES=()
for argument in "$@"; do
  case "$argument" in
    --run) RUN=1 ;;
    --dry-run) RUN=0 ;;
    --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    heys-api-rpc | heys-api-rest | heys-api-auth | heys-api-leads | heys-api-payments | heys-backup) NAMES+=("$argument") ;;
    *) echo "Unknown argument: $argument (see --help)" >&2; exit 2 ;;
  esac
done
if [ ${#NAMES[@]} -eq 0 ]; then
  NAMES=(heys-api-rpc heys-api-rest heys-api-auth heys-api-leads heys-api-payments heys-backup)
fi

FOLDER_ID="${FOLDER_ID:-<FOLDER_ID>}"
SERVICE_ACCOUNT_ID="${SERVICE_ACCOUNT_ID:-<SERVICE_ACCOUNT_ID>}"
LOCKBOX_ID="${LOCKBOX_ID:-<LOCKBOX_ID>}"
LOCKBOX_VERSION="${LOCKBOX_VERSION:-<LOCKBOX_VERSION>}"
NETWORK_ID="${NETWORK_ID:-<NETWORK_ID>}"
PG_HOST="${PG_HOST:-<PG_HOST>}"
PG_DATABASE="${PG_DATABASE:-heys_production}"
PG_USER="${PG_USER:-heys_admin}"
S3_BUCKET="${S3_BUCKET:-heys-backups}"
export DEPLOY_BUCKET="${DEPLOY_BUCKET:-heys-deploy}"
RUNTIME="${RUNTIME:-nodejs22}"

if [ "$RUN" = 1 ]; then
  command -v yc >/dev/null || { echo "yc is missing: https://yandex.cloud/docs/cli/quickstart" >&2; exit 1; }
  for name in FOLDER_ID SERVICE_ACCOUNT_ID LOCKBOX_ID LOCKBOX_VERSION NETWORK_ID PG_HOST; do
    case "${!name}" in "<"*) echo "Set $name" >&2; exit 1 ;; esac
  done
fi

# Prints a call, and makes it with --run.
call() {
  printf '%q ' "$@" | sed 's/\\\([<>]\)/\1/g; s/ $//'
  printf '\n'
  if [ "$RUN" = 1 ]; then "$@"; fi
}

# Roles are printed for the folder's administrator; they are granted once, not with every deployment.
explain_roles() {
  echo "# Roles of the service account, once:"
  local role
  for role in lockbox.payloadViewer storage.uploader storage.viewer functions.functionInvoker; do
    echo "#   yc resource-manager folder add-access-binding $FOLDER_ID --role $role --subject serviceAccount:$SERVICE_ACCOUNT_ID"
  done
  echo "# heys-backup also removes old backups: storage.editor on the bucket $S3_BUCKET alone."
}

memory() {
  case "$1" in
    heys-backup) echo 512m ;;
    heys-api-rpc | heys-api-rest) echo 512m ;;
    *) echo 256m ;;
  esac
}

timeout_of() {
  case "$1" in
    heys-backup) echo 600s ;;
    heys-api-payments) echo 60s ;;
    *) echo 30s ;;
  esac
}

# Calls at once in one instance; withAdmission queues what the pool cannot carry.
concurrency() {
  case "$1" in heys-backup) echo 1 ;; *) echo 4 ;; esac
}

environment() {
  local common="PG_HOST=$PG_HOST,PG_PORT=6432,PG_DATABASE=$PG_DATABASE,PG_USER=$PG_USER,PG_SSLMODE=verify-full"
  case "$1" in
    heys-backup) echo "$common,S3_BUCKET=$S3_BUCKET,S3_STORAGE_CLASS=COLD,BACKUP_RETENTION_DAYS=7,BACKUP_MIN_KEEP=3" ;;
    heys-api-rpc) echo "$common,POOL_MAX_SIZE=5" ;;
    *) echo "$common,POOL_MAX_SIZE=3" ;;
  esac
}

# NAME, in the environment and in Lockbox alike.
secrets() {
  case "$1" in
    heys-backup) echo PG_PASSWORD S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY TELEGRAM_BOT_TOKEN TELEGRAM_CHAT_ID ;;
    heys-api-rpc) echo PG_PASSWORD HEYS_ENCRYPTION_KEY ;;
    heys-api-payments) echo PG_PASSWORD PAYMENT_API_BASE PAYMENT_WEBHOOK_SECRET ;;
    heys-api-leads) echo PG_PASSWORD LEADS_NOTIFY_URL ;;
    *) echo PG_PASSWORD ;;
  esac
}

# A field of what packaging left in functions/index.json.
packed() {
  node -e 'const [name, field] = process.argv.slice(1)
    const dist = require("path").resolve(process.env.HEYS_DIST || "dist")
    const one = require(`${dist}/functions/index.json`).find((entry) => entry.name === name)
    if (!one) throw new Error(`${name} is not packed`)
    console.log(one[field])' "$1" "$2"
}

deploy() {
  local name="$1" flags upload=() secret arguments=()
  flags="$(packed "$name" flags)"
  read -r -a upload <<<"$flags"
  echo
  echo "# $name: $(packed "$name" bytes) bytes"
  if [ "$RUN" = 1 ] && yc serverless function get "$name" --folder-id "$FOLDER_ID" >/dev/null 2>&1; then
    echo "# $name exists"
  else
    call yc serverless function create --name "$name" --folder-id "$FOLDER_ID"
  fi
  if [ "${upload[0]}" = --package-bucket-name ]; then
    call yc storage s3 cp "$(packed "$name" file)" "s3://${upload[1]}/${upload[3]}"
  fi
  for secret in $(secrets "$name"); do
    arguments+=(--secret "environment-variable=$secret,id=$LOCKBOX_ID,version-id=$LOCKBOX_VERSION,key=$secret")
  done
  call yc serverless function version create --function-name "$name" --folder-id "$FOLDER_ID" \
    --runtime "$RUNTIME" --entrypoint index.handler --memory "$(memory "$name")" \
    --execution-timeout "$(timeout_of "$name")" --concurrency "$(concurrency "$name")" \
    --service-account-id "$SERVICE_ACCOUNT_ID" --network-id "$NETWORK_ID" \
    --environment "$(environment "$name")" "${arguments[@]}" "${upload[@]}"
  if [ "$name" != heys-backup ]; then return; fi
  if [ "$RUN" = 1 ] && yc serverless trigger get heys-backup-nightly --folder-id "$FOLDER_ID" >/dev/null 2>&1; then
    echo "# the timer heys-backup-nightly exists"
  else
    call yc serverless trigger create timer --name heys-backup-nightly --folder-id "$FOLDER_ID" \
      --cron-expression '0 3 * * ? *' --invoke-function-name heys-backup \
      --invoke-function-service-account-id "$SERVICE_ACCOUNT_ID"
  fi
}

if [ "${SKIP_PACKAGING:-0}" != 1 ]; then
  node scripts/package-functions.mjs ${NO_BUILD:+--no-build} "${NAMES[@]}"
fi
echo
if [ "$RUN" = 1 ]; then echo "# Deploying"; else echo "# Dry run: nothing is changed. --run makes these calls."; fi
explain_roles
for name in "${NAMES[@]}"; do deploy "$name"; done
