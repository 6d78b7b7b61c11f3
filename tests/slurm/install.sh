#!/bin/sh
# The commands that `make test-slurm` starts a cluster with; installed from Debian's packages where they are missing.
set -eu
PATH="$PATH:/usr/sbin:/sbin"
missing=""
for name in munged slurmctld slurmd sbatch srun squeue scancel scontrol sinfo; do
  command -v "$name" >/dev/null || missing="$missing $name"
done
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "test-slurm: not installed:$missing; as root: apt-get install slurm-wlm munge" >&2
  exit 2
fi
echo "test-slurm: installing slurm-wlm and munge"
export DEBIAN_FRONTEND=noninteractive
{ apt-get update && apt-get install -y --no-install-recommends slurm-wlm munge; } >/dev/null || {
  echo "test-slurm: slurm-wlm and munge could not be installed" >&2
  exit 2
}
