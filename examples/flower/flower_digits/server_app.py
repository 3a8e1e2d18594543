"""The server: federated averaging over all clients."""

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from .task import Net

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """All rounds."""
    torch.manual_seed(0)
    strategy = FedAvg(fraction_train=1.0, fraction_evaluate=0.0)
    result = strategy.start(
        grid, ArrayRecord(Net().state_dict()), num_rounds=int(context.run_config["num-server-rounds"])
    )
    if not result.train_metrics_clientapp:
        raise RuntimeError("no client sent an update")
