"""The client: trains on its own share, and has what it sends recorded."""

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from seethrough.flower import Recorder

from .task import CLASSES, SHAPE, Net, share_of, train


def recipe(message: Message, context: Context) -> dict:
    """How this client trains, as `local` of a seethrough spec."""
    run = context.run_config
    return {
        "epochs": 1,
        "batch_size": int(run["batch-size"]),
        "shuffle": True,
        "lr": float(run["learning-rate"]),
        "optimizer": {"sgd": {"momentum": float(run["momentum"]), "weight_decay": float(run["weight-decay"])}},
    }


def own_share(message: Message, context: Context) -> tuple[torch.Tensor, torch.Tensor]:
    """The client's images and labels: what an audit scores against, and no attack sees."""
    return share_of(int(context.node_config["partition-id"]), int(context.run_config["examples-per-client"]))


app = ClientApp(mods=[Recorder(recipe=recipe, shape=SHAPE, classes=CLASSES, truth=own_share)])


@app.train()
def train_client(message: Message, context: Context) -> Message:
    """One local epoch."""
    torch.set_num_threads(1)
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    images, labels = own_share(message, context)
    loss = train(net, images, labels, recipe(message, context), seed=int(context.node_config["partition-id"]))
    metrics = MetricRecord({"train_loss": loss, "num-examples": len(labels)})
    return Message(RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)
