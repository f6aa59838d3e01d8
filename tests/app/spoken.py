"""A tab without a browser: Streamlit's own messages over its own websocket, so that a test can send what no page would."""

from __future__ import annotations

import time
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect


class Spoken:
    """Open with `with`; `text` is everything that the page last said, `ids` the widgets on it by label."""

    def __init__(self, url: str, page: str, query: str = "", headers: dict[str, str] | None = None) -> None:
        self._page, self._query = page, query
        self._socket = connect(url.replace("http", "ws") + "/_stcore/stream", subprotocols=["streamlit"], max_size=None, compression=None,
                               proxy=None, additional_headers=headers, origin=url)  # type: ignore[arg-type]  # fmt: skip
        self.text, self.ids = "", dict[str, str]()

    def __enter__(self) -> Spoken:
        self.ask()
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.close()

    def ask(self, press: str = "") -> None:
        """Draw the page; with `press` the id of a button, as if it had been pressed."""
        message = BackMsg()
        message.rerun_script.query_string, message.rerun_script.page_name = self._query, self._page
        if press:
            state = message.rerun_script.widget_states.widgets.add()
            state.id, state.trigger_value = press, True
        self._socket.send(message.SerializeToString())
        self.text, self.ids = "", {}
        deadline = time.monotonic() + 60
        while True:
            answer = ForwardMsg()
            answer.ParseFromString(self._socket.recv(timeout=max(0.0, deadline - time.monotonic())))
            if answer.WhichOneof("type") == "delta":
                self.text += str(answer.delta)
                element = answer.delta.new_element
                if element.WhichOneof("type") == "button":
                    self.ids[element.button.label] = element.button.id
            elif answer.WhichOneof("type") == "script_finished" and answer.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return
