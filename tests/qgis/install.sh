#!/bin/sh
# PyQGIS, which `make test-qgis` opens a map with; installed from Debian's packages where it is missing.
set -eu
if /usr/bin/python3 -c "import qgis.core, osgeo" 2>/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "test-qgis: PyQGIS is not installed; as root: apt-get install python3-qgis" >&2
  exit 2
fi
echo "test-qgis: installing python3-qgis"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends python3-qgis; } >/dev/null || {
  echo "test-qgis: python3-qgis could not be installed" >&2
  exit 2
}
