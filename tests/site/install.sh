#!/bin/sh
# The browser that `make test-site` opens pages with; installed from Debian's package where there is none.
set -eu
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "test-site: no Chromium found; as root: apt-get install chromium" >&2
  exit 2
fi
echo "test-site: installing chromium"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends chromium; } >/dev/null || {
  echo "test-site: chromium could not be installed" >&2
  exit 2
}
