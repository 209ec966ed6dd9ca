# Writes what compose.yaml needs: keys and passwords, a file each in foretaste-data/secrets, and .env, which says where they
# are and whose the containers run as; and foretaste-data/compose.env for clients. What is there already stays: a .env of an
# earlier release has its keys taken out of it into files. Run by `make compose-env`, in the folder of compose.yaml.
set -eu
umask 077

secrets=foretaste-data/secrets

random() { head -c "$1" /dev/urandom | od -An -tx1 | tr -d ' \n'; }
earlier() { if [ -f .env ]; then sed -n "s/^$1=//p" .env; fi; }

# keep NAME VALUE: a file that the containers' user can read, unless it is there.
keep() {
    if [ -s "$secrets/$1" ]; then return; fi
    printf '%s\n' "$2" > "$secrets/.$1"
    chmod 400 "$secrets/.$1"
    if [ "$(id -u)" = 0 ]; then chown "$uid:$gid" "$secrets/.$1"; fi
    mv "$secrets/.$1" "$secrets/$1"
}

uid=$(earlier FORETASTE_UID) gid=$(earlier FORETASTE_GID)
# A root user gets the containers' own user: they must not run as root.
if [ "$(id -u)" = 0 ]; then own=10001; else own=$(id -u); fi
uid=${uid:-$own} gid=${gid:-$(if [ "$own" = 10001 ]; then echo 10001; else id -g; fi)}

mkdir -p "$secrets"
(umask 022 && mkdir -p foretaste-data/s3)
if [ "$(id -u)" = 0 ]; then chown "$uid:$gid" foretaste-data/s3; fi

key=$(earlier FORETASTE_ACCESS_KEY_ID) secret=$(earlier FORETASTE_SECRET_ACCESS_KEY)
password=$(earlier FORETASTE_REDIS_PASSWORD)
keep access_key_id "${key:-FT$(random 9 | tr a-f A-F)}"
keep secret_access_key "${secret:-$(random 20)}"
keep redis_password "${password:-$(random 32)}"
keep redis_url "redis://:$(cat $secrets/redis_password)@redis:6379/0"

{
    echo "export AWS_ACCESS_KEY_ID=$(cat $secrets/access_key_id)"
    echo "export AWS_SECRET_ACCESS_KEY=$(cat $secrets/secret_access_key)"
    echo "export AWS_REGION=us-east-1"
    echo "export AWS_DEFAULT_REGION=us-east-1"
    for service in PERSONALIZE PERSONALIZE_RUNTIME PERSONALIZE_EVENTS; do
        echo "export AWS_ENDPOINT_URL_$service=http://127.0.0.1:8080"
    done
} > foretaste-data/compose.env.new
if [ -e foretaste-data/compose.env ]; then
    rm foretaste-data/compose.env.new  # its Region and address may have been changed
else
    mv foretaste-data/compose.env.new foretaste-data/compose.env
fi

if [ -n "$(earlier FORETASTE_SECRETS_FOLDER)" ]; then exit; fi
{
    if [ -f .env ]; then
        sed -E '/^FORETASTE_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|REDIS_PASSWORD)=/d' .env
    else
        echo "FORETASTE_UID=$uid"
        echo "FORETASTE_GID=$gid"
    fi
    echo "FORETASTE_SECRETS_FOLDER=./$secrets"
} > .env.new
mv .env.new .env
echo "wrote .env, the files of $secrets, and foretaste-data/compose.env for clients"
