"""Loaded ahead of an operator: its clock is five minutes behind everybody else's."""

from datetime import UTC, datetime, timedelta

import time_machine

time_machine.travel(datetime.now(UTC) - timedelta(minutes=5), tick=True).start()
