#!/bin/sh
# Puts chadbox on this Raspberry Pi OS or Debian machine, or takes it away; called by `./dev install` as root, with the
# interpreter to use in PYTHON. In a chroot, where systemd does not run, it prepares what the next boot starts.
#
#   /opt/chadbox/env-*             the program, one folder a version; `current` points to the one in use
#   /etc/chadbox                   settings, written only when they are missing
#   /etc/credstore/chadbox.token   the server's token, readable by root alone
#   and units, udev rules and a link in /usr/local/bin
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
prefix=/opt/chadbox
settings=/etc/chadbox
token=/etc/credstore/chadbox.token
units=/etc/systemd/system
link=/usr/local/bin/chadbox

usage() {
    cat <<'EOF'
usage: ./dev install [--server URL | --serve DIR] [--token-file FILE] [--wheels DIR]
       ./dev uninstall [--purge]

  --server URL       the music server; asked for when no settings are there yet
  --serve DIR        run the embedded server on this machine too, with the music in DIR
  --token-file FILE  a file with the server's token on one line; it is copied
  --wheels DIR       take Python packages from this folder and not from the network
  --purge            remove settings, token, play history and cache too, and the user chadbox
EOF
}

say() { printf 'dev: %s\n' "$*" >&2; }
die() { say "$@"; exit 1; }
wrong() { usage >&2; exit 2; }

running() { [ -d /run/systemd/system ]; }

# Writes standard input to FILE if it holds something else; true when it changed.
put() {
    cat >"$1.new"
    chmod "$2" "$1.new"
    if cmp -s "$1.new" "$1"; then
        rm "$1.new"
        return 1
    fi
    mv "$1.new" "$1"
}

change_files() {
    changed=
    mkdir -p "$units" /etc/udev/rules.d /etc/modules-load.d
    for unit in chadbox.service chadbox-server.service; do
        if put "$units/$unit" 644 <"$here/image/systemd/$unit"; then changed=yes; fi
    done
    mkdir -p /etc/polkit-1/rules.d
    # read at once by polkit, which watches the folder
    put /etc/polkit-1/rules.d/60-chadbox.rules 644 <"$here/image/polkit/60-chadbox.rules" || true
    if put /etc/modules-load.d/chadbox.conf 644 <"$here/image/modules-load/chadbox.conf"; then changed=yes; fi
    if put /etc/udev/rules.d/60-chadbox.rules 644 <"$here/image/udev/60-chadbox.rules"; then
        changed=yes
        if running; then
            modprobe -q i2c-dev || say "no I2C on this machine: no display"
            udevadm control --reload && udevadm trigger --subsystem-match=gpio --subsystem-match=i2c-dev
        fi
    fi
}

make_users() {
    for group in chadbox audio gpio i2c; do
        getent group "$group" >/dev/null || groupadd --system "$group"
    done
    getent passwd chadbox >/dev/null || useradd --system --gid chadbox --home-dir /var/lib/chadbox --no-create-home \
        --shell /usr/sbin/nologin --comment "chadbox music player" chadbox
    person=${SUDO_USER:-root}
    if [ "$person" != root ] && ! id -nG "$person" | tr ' ' '\n' | grep -qx chadbox; then
        usermod -a -G chadbox "$person"
        say "$person may use the player now, after the next log-in (group chadbox)"
    fi
}

# What an environment is made from; the same means there is nothing to do.
key() {
    {
        "$PYTHON" -V
        cd "$here"
        cksum image/requirements.lock pyproject.toml
        find appliance hw -type f ! -name '*.pyc' -exec cksum {} + | sort
    } | cksum | cut -d' ' -f1
}

# A new folder each time, and a link that moves: an update that fails leaves the old one running.
make_environment() {
    env=$prefix/env-$(key)
    if [ ! -f "$env/.ready" ]; then
        say "installing into $env"
        rm -rf "$env"
        mkdir -p "$prefix"
        site=
        # lgpio has no wheels from Python 3.13 on: take the distribution's
        "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 13))' && site=--system-site-packages
        "$PYTHON" -m venv $site "$env" || die "no environment could be made; install python3-venv"
        pip="$env/bin/python -m pip --disable-pip-version-check --no-input --no-cache-dir install -q"
        $pip --require-hashes ${wheels:+--no-index --find-links "$wheels"} -r "$here/image/requirements.lock" ||
            die "pip could not install image/requirements.lock; see above"
        $pip --no-deps --no-index --no-build-isolation "$here" || die "pip could not install chadbox itself; see above"
        : >"$env/.ready"
    fi
    if [ "$(readlink "$prefix/current" 2>/dev/null)" != "${env##*/}" ]; then
        ln -sfn "${env##*/}" "$prefix/current.new"
        mv -T "$prefix/current.new" "$prefix/current"
        changed=yes
    fi
    for old in "$prefix"/env-*; do
        [ "$old" = "$env" ] || rm -rf "$old"
    done
    [ "$(readlink "$link" 2>/dev/null)" = "$prefix/current/bin/chadbox" ] ||
        ln -s "$prefix/current/bin/chadbox" "$link" || die "$link is in the way; move it and try again"
}

make_settings() {
    mkdir -p "$settings"
    if [ -f "$settings/chadbox.toml" ]; then
        [ -z "$server" ] || grep -qF "\"$server\"" "$settings/chadbox.toml" ||
            say "kept $settings/chadbox.toml as it is; to use $server, change it there"
        return 0
    fi
    if [ -z "$server" ]; then
        [ -t 0 ] || die "name the music server: ./dev install --server http://ADDRESS:PORT, or --serve DIR"
        printf 'Address of the music server, for example http://192.168.1.5:5000: ' >&2
        read -r server
    fi
    # as the value of a key: nothing in it ends the string, and sed sees no special characters
    shown=$(printf '%s' "$server" | sed 's/[\\&|"]/\\&/g')
    sed "s|@URL@|$shown|" "$here/image/chadbox.toml" >"$settings/chadbox.toml.new"
    if ! said=$("$prefix/current/bin/chadbox" --config "$settings/chadbox.toml.new" config check 2>&1); then
        rm "$settings/chadbox.toml.new"
        die "--server: ${said##*url: }"
    fi
    mv "$settings/chadbox.toml.new" "$settings/chadbox.toml"
    changed=yes
}

make_token() {
    [ -n "$token_file" ] || { [ -n "$serve" ] && [ ! -f "$token" ]; } || return 0
    mkdir -p "${token%/*}"
    chmod 700 "${token%/*}"
    umask 077
    if [ -n "$token_file" ]; then
        if put "$token" 600 <"$token_file"; then changed=yes; fi
    else
        "$PYTHON" -c 'import secrets; print(secrets.token_urlsafe(32))' | put "$token" 600
        changed=yes
    fi
    umask 022
}

make_server() {
    [ -n "$serve" ] || return 0
    # systemd's quoting: within double quotes, a backslash before a backslash or a quote
    shown=$(printf '%s' "$serve" | sed 's/[\\"]/\\&/g')
    runuser -u nobody -- test -r "$serve" -a -x "$serve" ||
        say "warning: $serve is not open to other users; the music server may not be able to read it"
    if printf 'CHADBOX_MUSIC="%s"\n' "$shown" | put "$settings/server.env" 644; then changed=yes; fi
}

start() {
    services=chadbox
    [ ! -f "$settings/server.env" ] || services="chadbox-server chadbox"
    # shellcheck disable=SC2086  # a list of words on purpose
    systemctl -q enable $services
    running || { say "installed; it starts with the next boot"; return 0; }
    systemctl daemon-reload
    for service in $services; do
        if [ -n "$changed" ] || ! systemctl -q is-active "$service"; then
            systemctl restart "$service" || die "$service does not start; the reason: journalctl -u $service -n 20"
        fi
    done
    say "installed and running; try: chadbox status"
}

install() {
    server='' serve='' token_file='' wheels=''
    while [ $# -gt 0 ]; do
        case $1 in
            --server) [ $# -gt 1 ] || wrong; server=$2; shift ;;
            --serve) [ $# -gt 1 ] || wrong; serve=$2; shift ;;
            --token-file) [ $# -gt 1 ] || wrong; token_file=$2; shift ;;
            --wheels) [ $# -gt 1 ] || wrong; wheels=$2; shift ;;
            *) wrong ;;
        esac
        shift
    done
    [ -z "$serve" ] || [ -z "$server" ] || wrong
    command -v systemctl >/dev/null || die "this machine has no systemd; chadbox run works without it"
    [ -z "$token_file" ] || [ -s "$token_file" ] || die "$token_file: no such file, or it is empty"
    [ -z "$wheels" ] || [ -d "$wheels" ] || die "$wheels: no such folder"
    if [ -n "$serve" ]; then
        [ -d "$serve" ] || die "$serve: no such folder"
        serve=$(CDPATH='' cd -- "$serve" && pwd -P)
        server=http://127.0.0.1:5000
    fi
    make_users
    change_files
    make_environment
    make_settings
    make_token
    make_server
    start
}

uninstall() {
    purge=
    case $# in
        0) ;;
        *) [ "$*" = --purge ] || wrong; purge=yes ;;
    esac
    for service in chadbox chadbox-server; do
        [ ! -f "$units/$service.service" ] || systemctl -q disable --now "$service"
        rm -f "$units/$service.service"
    done
    rm -f /etc/udev/rules.d/60-chadbox.rules /etc/polkit-1/rules.d/60-chadbox.rules /etc/modules-load.d/chadbox.conf
    rm -rf "$prefix"
    [ ! -L "$link" ] || [ "$(readlink "$link")" != "$prefix/current/bin/chadbox" ] || rm "$link"
    if running; then
        systemctl daemon-reload
        udevadm control --reload
    fi
    if [ -z "$purge" ]; then
        say "removed; settings, token, history and cache are kept (./dev uninstall --purge removes them too)"
        return 0
    fi
    rm -rf "$settings" "$token" "$units/chadbox.service.d" "$units/chadbox-server.service.d" \
        /var/lib/chadbox /var/cache/chadbox /var/lib/chadbox-server /var/lib/private/chadbox-server
    for mounted in /media/chadbox /run/media/chadbox; do  # udisks makes one for each user that mounts something
        rmdir "$mounted" 2>/dev/null || true
    done
    ! getent passwd chadbox >/dev/null || userdel chadbox
    ! getent group chadbox >/dev/null || groupdel chadbox
    say "removed, with everything that it kept"
}

case " $* " in *" -h "* | *" --help "*) usage; exit 0 ;; esac
command=${1:-}
[ $# -eq 0 ] || shift
case $command in
    install) install "$@" ;;
    uninstall) uninstall "$@" ;;
    *) wrong ;;
esac
