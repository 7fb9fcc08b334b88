"""Installing over what is there, and taking it away again; the last tests of the box."""

from __future__ import annotations

import pytest

from tests.vm.guest import Guest

pytestmark = pytest.mark.vm


def test_installing_again_changes_nothing(guest: Guest) -> None:
    before = guest.pid()
    guest.run("su pi -c 'cd ~/chadbox && ./dev install --wheels /nowhere'", code=1)
    said = guest.run("su pi -c 'cd ~/chadbox && ./dev install --serve /srv/music'", timeout=120)
    assert "installed and running" in said
    assert guest.pid() == before


def test_uninstalling_leaves_what_the_person_has_and_purging_nothing(guest: Guest) -> None:
    guest.run("su pi -c 'cd ~/chadbox && ./dev uninstall'", timeout=120)
    gone = "/opt/chadbox /usr/local/bin/chadbox /etc/systemd/system/chadbox.service /etc/udev/rules.d/60-chadbox.rules"
    assert guest.run(f"ls -d {gone} 2>/dev/null", code=2) == ""
    kept = "/etc/chadbox/chadbox.toml /var/lib/chadbox/chadbox.db /etc/credstore/chadbox.token /srv/music"
    guest.run(f"ls -d {kept}")
    guest.run("su pi -c 'cd ~/chadbox && ./dev uninstall --purge'", timeout=120)
    assert guest.run("ls -d /etc/chadbox /var/lib/chadbox /var/cache/chadbox 2>/dev/null", code=2) == ""
    assert guest.run("find / -xdev -name '*chadbox*' -not -path '/home/pi/*' -not -path '/usr/lib/chadbox-vm*'") == ""
    guest.run("getent passwd chadbox", code=2)
