#!/bin/bash
# Installs the release in which it lies on an EC2 instance, ships its logs, and starts units of systemd:
#   install.sh UNIT...      for example jobclaim-worker@web jobclaim-interruption@web
# Settings are in /etc/jobclaim before it runs. LOG_GROUP names the log group, PYTHON the interpreter. It ends with an
# error where a unit does not become ready: a worker reports that itself.
set -euo pipefail
release=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3.11}
group=${LOG_GROUP:?name the log group that the metric filters read}
units=("$@")
[ "${#units[@]}" -gt 0 ] || { echo "name the units to start, for example jobclaim-worker@web" >&2; exit 2; }

install_packages() {
  local missing=()
  command -v "$python" >/dev/null || missing+=("$python")
  command -v logrotate >/dev/null || missing+=(logrotate)
  [ -x /opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl ] || missing+=(amazon-cloudwatch-agent)
  [ "${#missing[@]}" -eq 0 ] || dnf install --assumeyes --quiet "${missing[@]}"
}

install_program() {
  id jobclaim >/dev/null 2>&1 || useradd --system --home-dir /opt/jobclaim --shell /sbin/nologin jobclaim
  mkdir -p /opt/jobclaim /etc/jobclaim
  # Wheels of the release and nothing else: no index is asked, so an instance started in a year runs the same.
  "$python" -m venv --clear /opt/jobclaim/.venv
  /opt/jobclaim/.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps \
    "$release"/wheels/*.whl
}

install_units() {
  install -m 0644 "$release"/deploy/systemd/*.service /etc/systemd/system/
  # For every unit whose name begins with jobclaim-.
  mkdir -p /etc/systemd/system/jobclaim-.service.d /var/log/jobclaim
  printf '[Service]\nStandardOutput=append:/var/log/jobclaim/%%N.log\nStandardError=inherit\n' \
    >/etc/systemd/system/jobclaim-.service.d/logs.conf
  printf '/var/log/jobclaim/*.log {\n  size 100M\n  rotate 2\n  copytruncate\n  missingok\n  notifempty\n}\n' \
    >/etc/logrotate.d/jobclaim
  systemctl daemon-reload
}

# One entry per file: with a pattern the agent ships only the newest file.
ship_logs() {
  local config=/opt/aws/amazon-cloudwatch-agent/etc/jobclaim.json files="" unit
  for unit in "${units[@]}"; do
    files+="${files:+,}{\"file_path\":\"/var/log/jobclaim/$unit.log\",\"log_group_name\":\"$group\""
    files+=",\"log_stream_name\":\"{instance_id}/$unit\"}"
  done
  mkdir -p "$(dirname "$config")"
  printf '{"logs":{"logs_collected":{"files":{"collect_list":[%s]}}}}\n' "$files" >"$config"
  /opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl -a fetch-config -m ec2 -s -c "file:$config"
}

install_packages
install_program
install_units
ship_logs
systemctl enable --now "${units[@]}"
