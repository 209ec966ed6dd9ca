# Writes into .env which images of others compose.yaml uses, by digest: what their registry answers now is what will run until this
# is run again. Run by `make compose-pins`, in the folder of compose.yaml, where the registry can be reached.
set -eu
umask 077

# pin VARIABLE IMAGE
pin() {
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$2")
    case $digest in
        sha256:*) ;;
        *) echo "no digest of $2: $digest" >&2; exit 1 ;;
    esac
    { if [ -f .env ]; then sed "/^$1=/d" .env; fi; echo "$1=$2@$digest"; } > .env.new
    mv .env.new .env
    echo "$1=$2@$digest"
}

pin FORETASTE_VALKEY_IMAGE valkey/valkey:8-alpine
pin FORETASTE_PYTHON_IMAGE python:3.11-slim-bookworm
