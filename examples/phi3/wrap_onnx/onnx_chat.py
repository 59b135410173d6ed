"""The same model with the interface of OpenAI's Responses: messages in, an answer out, whole or as it is made."""

import uuid
from collections.abc import Generator

import mlflow
from mlflow.pyfunc.model import PythonModelContext, ResponsesAgent
from mlflow.types.responses import ResponsesAgentRequest, ResponsesAgentResponse, ResponsesAgentStreamEvent
from onnx_model import OnnxModel  # lies in the artifact's folder code


class OnnxChat(ResponsesAgent):
    """Greedy; where answers are checked against facts.json nothing is said before the end."""

    def load_context(self, context: PythonModelContext) -> None:
        self.model = OnnxModel()
        self.model.load_context(context)

    def predict(self, request: ResponsesAgentRequest) -> ResponsesAgentResponse:  # type: ignore[override]  # MLflow's way
        *_, last = self.predict_stream(request)
        return ResponsesAgentResponse(output=[last.model_dump()["item"]])

    def predict_stream(  # type: ignore[override]  # as above
        self, request: ResponsesAgentRequest
    ) -> Generator[ResponsesAgentStreamEvent, None, None]:
        messages = [{name: one.model_dump()[name] for name in ("role", "content")} for one in request.input]
        item, told = f"msg_{uuid.uuid4().hex}", []
        for _, text in self.model.pieces(messages):
            told.append(text)
            yield ResponsesAgentStreamEvent(**self.create_text_delta(text, item))
        whole = self.create_text_output_item(text="".join(told), id=item)
        yield ResponsesAgentStreamEvent.model_validate({"type": "response.output_item.done", "item": whole})


mlflow.models.set_model(OnnxChat())
