"""The same model with the interface of OpenAI's Responses: messages in, an answer out, whole or as it is made."""

import uuid
from collections.abc import Iterator

import mlflow
from mlflow.pyfunc import ResponsesAgent
from mlflow.pyfunc.model import PythonModelContext
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent
from onnx_model import OnnxModel  # lies in the artifact's folder code


class OnnxChat(ResponsesAgent):
    """Greedy; where answers are checked against facts.json nothing is said before the end."""

    def load_context(self, context: PythonModelContext) -> None:
        self.model = OnnxModel()
        self.model.load_context(context)

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:
        done = [event for event in self.predict_stream(request) if event.type == "response.output_item.done"]
        return ResponsesAgentResponse(output=[event.item for event in done])

    def predict_stream(self, request: ResponsesAgentRequest) -> Iterator[ResponsesAgentStreamEvent]:
        messages = [{name: one.model_dump()[name] for name in ("role", "content")} for one in request.input]
        item, told = f"msg_{uuid.uuid4().hex}", []
        for _, text in self.model.pieces(messages):
            told.append(text)
            yield ResponsesAgentStreamEvent(**self.create_text_delta(text, item))
        whole = self.create_text_output_item(text="".join(told), id=item)
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=whole)


mlflow.models.set_model(OnnxChat())
