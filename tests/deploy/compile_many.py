"""In kfp's environment: what each request on standard input, a list as JSON, is for Kubeflow, as a list of specs."""

import json
import sys

from google.protobuf import json_format

from deploy.kubeflow.compile import compiled

ENVIRON = {"MLFLOW_TRACKING_URI": "http://tracking:5000"}
specs = [compiled(asked, "pipeline", ENVIRON).pipeline_spec for asked in json.load(sys.stdin)]
json.dump([json_format.MessageToDict(spec) for spec in specs], sys.stdout)
