"""Calls of language models, as LangChain, openai and LlamaIndex make them, are rows of a table."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

import tracker
from tracker.core.query import Run as ReadRun
from tracker.integrations import patching

OnlyRun = Callable[[], ReadRun]


def calls(run: ReadRun, key: str) -> list[dict[str, Any]]:
    """Read a table of calls back."""
    return list(run.table(key).to_pandas().to_dict("records"))


def test_a_chain_of_langchain_is_rows_that_know_their_parent(only_run: OnlyRun) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.language_models.fake_chat_models import FakeListChatModel
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableLambda

    from tracker.integrations.langchain_core import TrackerCallback

    def broken(_: Any) -> Any:
        raise ValueError("the tool is on fire")

    prompt = ChatPromptTemplate.from_messages([("user", "what is {thing}?")])
    chain = prompt | FakeListChatModel(responses=["a fruit"])
    callback = TrackerCallback(project="chains")
    chain.invoke({"thing": "an apple"}, config={"callbacks": [callback]})
    with pytest.raises(ValueError, match="on fire"):
        (chain | RunnableLambda(broken)).invoke({"thing": "a pear"}, config={"callbacks": [callback]})
    tracker.finish()
    found = calls(only_run(), "langchain/calls")
    by_id = {call["id"]: call for call in found}
    models = [call for call in found if call["kind"] in ("chat_model", "llm")]

    assert only_run().project == "chains"
    assert ["what is an apple?" in models[0]["input"], "what is a pear?" in models[1]["input"]] == [True, True]
    assert all("a fruit" in call["output"] and call["seconds"] >= 0 for call in models)
    assert {by_id[call["parent"]]["name"] for call in models} == {"RunnableSequence"}
    assert any("on fire" in str(call["error"]) for call in found)


def _openai(answer: Callable[[dict[str, Any]], dict[str, Any]], is_async: bool = False) -> Any:
    httpx = pytest.importorskip("httpx")
    openai = pytest.importorskip("openai")

    def respond(request: Any) -> Any:
        return httpx.Response(200, json=answer(json.loads(request.content)))

    transport = httpx.MockTransport(respond)
    if is_async:
        return openai.AsyncOpenAI(api_key="none", http_client=httpx.AsyncClient(transport=transport), max_retries=0)
    return openai.OpenAI(api_key="none", http_client=httpx.Client(transport=transport), max_retries=0)


def _completion(asked: dict[str, Any]) -> dict[str, Any]:
    said = asked["messages"][0]["content"]
    if said == "break":
        return {"error": "none of the fields"}
    return {
        "id": "chat-1",
        "object": "chat.completion",
        "created": 1,
        "model": asked["model"],
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said.upper()}}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }  # fmt: skip


def test_calls_of_openai_are_rows_until_they_are_wanted_no_more(only_run: OnlyRun) -> None:
    client = _openai(_completion)
    from tracker.integrations.openai import log_calls

    end = log_calls(project="chats")
    answer = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hello"}])
    asyncio.run(
        _openai(_completion, is_async=True).chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "later"}]
        )
    )
    end()
    client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "unseen"}])
    tracker.finish()
    first, second = calls(only_run(), "openai/calls")

    assert answer.choices[0].message.content == "HELLO"
    assert (first["kind"], first["name"], first["id"]) == ("chat", "tiny", "chat-1")
    assert ("hello" in first["input"], "HELLO" in first["output"]) == (True, True)
    assert (first["input_tokens"], first["output_tokens"]) == (3, 5)
    assert ("later" in second["input"], "LATER" in second["output"]) == (True, True)
    assert patching.patched() == []


def test_a_call_that_fails_is_a_row_and_raises_as_ever(only_run: OnlyRun) -> None:
    httpx = pytest.importorskip("httpx")
    openai = pytest.importorskip("openai")
    from tracker.integrations.openai import log_calls

    transport = httpx.MockTransport(lambda request: httpx.Response(429, json={"error": {"message": "too many"}}))
    client = openai.OpenAI(api_key="none", http_client=httpx.Client(transport=transport), max_retries=0)
    with tracker.init() as run:
        log_calls(run)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hello"}])
    (call,) = calls(only_run(), "openai/calls")

    assert "RateLimitError" in call["error"]
    assert call["output"] is None


def test_calls_of_llama_index_are_rows(only_run: OnlyRun) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.instrumentation import get_dispatcher
    from llama_index.core.llms import ChatMessage, MockLLM

    from tracker.integrations.llama_index import TrackerEventHandler

    handler = TrackerEventHandler(project="indices")
    dispatcher = get_dispatcher()
    dispatcher.add_event_handler(handler)
    try:
        MockLLM(max_tokens=3).complete("one two three four")
        MockLLM().chat([ChatMessage(content="hello there")])
    finally:
        dispatcher.event_handlers.remove(handler)
    tracker.finish()
    found = calls(only_run(), "llama_index/calls")

    assert only_run().project == "indices"
    assert "one two three four" in {call["input"] for call in found if call["kind"] == "completion"}
    assert any("hello there" in call["input"] for call in found if call["kind"] == "chat")
    assert all(call["seconds"] >= 0 for call in found)
