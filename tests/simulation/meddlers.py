"""Everybody else who has a hand on the contacts."""

from __future__ import annotations

from tests.world.intercom import Intercom

from onelane_sandbox.contact import Contact

from .script import Act, Script


class Meddlers:
    """The browser SDK, the Messenger, and the support team."""

    def __init__(self, script: Script, intercom: Intercom) -> None:
        self._script = script
        self._intercom = intercom
        self.made: set[str] = set()
        """Contacts that others made while we were at work."""
        self.touched: set[str] = set()
        """Addresses at which others archived, deleted or merged somebody, or made a user."""
        self.heirs: dict[str, str] = {}
        """Lead → the user it was merged into."""

    def prepare(self, attribute: str) -> None:
        """What is there before the first intent, known to the index."""
        body = {"name": attribute, "model": "contact", "data_type": "string"}
        self._intercom.foreign("POST", "/data_attributes", body)
        for before in self._script.before:
            body = {key: value for key, value in before.items() if key != "archived"}
            response = self._intercom.foreign("POST", "/contacts", body)
            if before["archived"] and response.status == 200:
                self._intercom.foreign("POST", f"/contacts/{response.body['id']}/archive")
                self.touched.add(before["email"])
        self._intercom.sandbox.catch_up()

    def act(self, act: Act) -> None:
        """Do one of the things of the script, if there is somebody to do it to."""
        self.touched.add(act.address)
        live = self._live(act.address)
        match act.kind:
            case "sdk_user":
                self._make_user(act)
            case "merge":
                self._merge(act, [one for one in live if one.role == "lead"])
            case "archive" if live:
                self._intercom.foreign("POST", f"/contacts/{live[-1].id}/archive")
            case "delete" if live:
                self._intercom.foreign("DELETE", f"/contacts/{live[-1].id}")

    def _make_user(self, act: Act) -> str | None:
        body = {"role": "user", "email": act.address}
        if act.external_id is not None:
            body["external_id"] = act.external_id
        response = self._intercom.foreign("POST", "/contacts", body)
        if response.status != 200:
            return None
        self.made.add(response.body["id"])
        return str(response.body["id"])

    def _merge(self, act: Act, leads: list[Contact]) -> None:
        """The Messenger: the person logs in, and the lead becomes part of the user."""
        if not leads:
            return
        users = [one.id for one in self._live(act.address) if one.role == "user"]
        user = users[0] if users else self._make_user(act)
        if user is not None:
            self._intercom.foreign("POST", "/contacts/merge", {"from": leads[-1].id, "into": user})
            self.heirs[leads[-1].id] = user

    def _live(self, address: str) -> list[Contact]:
        contacts = self._intercom.sandbox._space.contacts.with_email(address)
        return [one for one in contacts if one.is_live]
