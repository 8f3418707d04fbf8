#!/usr/bin/env bash
# Makes a virtual environment with what `make demo` (local), `make test` (dev) or `make bench` (bench) needs, from
# the lock files: .venv with the newest Python, or another one with the Python that is named.
# Usage: deploy/setup.sh local|dev|docs|audit|bench [FOLDER PYTHON]
set -euo pipefail
unset CDPATH PYTHONPATH PYTHONHOME   # of other programs

what=$1 venv=${2:-.venv} named=${3:-}
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }
fail() { say "error: $*"; exit 1; }

# One set-up at a time in one folder.
exec 9<Makefile
if command -v flock >/dev/null; then
  flock -n 9 || { say 'waiting for another set-up in this folder …'; flock 9; }
fi

# A stamp holds what was installed, so an interrupted or older set-up is not mistaken for this one.
stamp=$(cat "requirements/$what.lock" requirements/build.lock pyproject.toml | cksum)
stamp+=" $PWD"   # an editable install and a virtual environment know where they are
if [[ -x $venv/bin/python && -f $venv/$what && $(<"$venv/$what") == "$stamp" ]]; then
  exit 0
fi

new_enough() { "$1" -c 'import ssl, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
makes_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# The newest Python that can make a virtual environment by itself; else the newest.
candidates=(python3.14 python3.13 python3.12 python3.11 python3)
[[ -z $named ]] || candidates=("$named")
python='' spare=''
for name in "${candidates[@]}"; do
  command -v "$name" >/dev/null && new_enough "$name" || continue
  spare=${spare:-$name}
  if makes_venvs "$name"; then python=$name; break; fi
done
[[ -n $spare ]] || fail "Python 3.11 or newer is needed, and none of these is one: ${candidates[*]}."

make_venv() {
  if [[ -n $python ]]; then
    "$python" -m venv --clear "$venv"
  elif "$spare" -m virtualenv --version >/dev/null 2>&1; then
    "$spare" -m virtualenv --quiet --clear "$venv"
  elif (( EUID == 0 )) && command -v apt-get >/dev/null; then
    say "installing python3-venv, which $spare lacks …"
    apt-get -qq update || :
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 install -y python3-venv >/dev/null
    "$spare" -m venv --clear "$venv"
  elif maker=$(mktemp -d) && "$spare" -m pip install -qq --target "$maker" virtualenv 2>/dev/null; then
    PYTHONPATH=$maker "$spare" -m virtualenv --quiet --clear "$venv" && rm -rf "$maker"
  else
    rm -rf "$maker"
    fail "$spare cannot make a virtual environment: install its venv module (Debian, Ubuntu: sudo apt-get install python3-venv)."
  fi
}

# One that was moved, or whose Python is gone, is made anew.
if ! new_enough "$venv/bin/python" || ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
   [[ $(cat "$venv/place" 2>/dev/null) != "$PWD" ]]; then
  say "making $venv with $("${python:-$spare}" --version) …"
  make_venv || fail 'the virtual environment could not be made, see above.'
  printf '%s' "$PWD" >"$venv/place"
fi

say "installing what requirements/$what.lock lists (once; about a minute) …"
rm -f "$venv/$what"
pip=("$venv/bin/python" -m pip --disable-pip-version-check --no-input)
progress=(-qq)   # errors only
[[ -t 1 ]] && progress=()
"${pip[@]}" install "${progress[@]}" --require-hashes -r requirements/build.lock -r "requirements/$what.lock"
"${pip[@]}" install -qq --no-deps --no-build-isolation --editable .
printf '%s' "$stamp" >"$venv/$what"
say 'installed.'
