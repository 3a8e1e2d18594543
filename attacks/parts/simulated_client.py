"""The attacker's own simulation of a client: what step would these images have produced?"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from seethrough.defenses import Params
from seethrough.recipes import Recipe
from seethrough.recipes.replay import replayed, sum_of

from .._base import View
from ..engine.slopes import slopes_by_weights
from .adaptive import as_computed, as_seen, clients_behind
from .image_priors import photograph_like
from .played_model import played_model
from .rounds import rounds_of, stack_rounds

PROBES = 64  # random images that stand in for public data
MOST_PUBLIC = 512  # public images worth a forward pass

Client = Callable[[Tensor, Tensor], Params]
"""Images [n, *shape] in [0, 1] and labels (int64 [n], or probabilities [n, classes]) to the step they produce."""


def simulated_client(view: View, read_error: Callable[[View], Tensor | None] = lambda view: None) -> Client:
    """The client's local training as a function of its data, differentiable and fit for `torch.func.vmap`; that of every
    round, if the view holds several.

    What `read_error` makes of a round, [n, classes] or None, is taken for the loss's slopes in the logits, whatever the
    labels are: the loss is then linear in the logits, and its gradient has the right length for images of any softmax.

    Where the recipe is withheld, the attacker supposes one step of rate 1: the result's direction is then right for
    a single step, its length is not. Where the order of a client that shuffles is withheld, every epoch
    is supposed to take the examples in one and the same order, which is the attacker's own to choose. Where the defense is
    known, the step is what would be seen of it; an update that several clients are behind is the mean of theirs, the examples
    being dealt out to them in turn.
    """
    clients = [_simulated_round(each, read_error(each)) for each in rounds_of(view)]
    return lambda inputs, labels: stack_rounds([client(inputs, labels) for client in clients])


def _simulated_round(view: View, error: Tensor | None) -> Client:
    model = _without_running_updates(view.model)
    broadcast = {name: parameter.detach() for name, parameter in model.named_parameters()}
    sent = {name: broadcast[name] for name in view.update}  # what is frozen is not sent
    recipe = view.recipe or Recipe(lr=1.0)

    def loss(moved: Params, inputs: Tensor, labels: Tensor) -> Tensor:
        logits = functional_call(model, {**broadcast, **moved}, (inputs,))
        return recipe.loss(logits, labels) if error is None else (logits * error).sum()

    gradient = as_computed(view, slopes_by_weights(loss))

    def client(inputs: Tensor, labels: Tensor) -> Params:
        known = view.order if view.order is not None and len(inputs) == view.count else None
        order = known or recipe.order(len(inputs))
        return as_seen(view, replayed(recipe, order, sent, gradient, inputs, labels))

    clients = clients_behind(view)

    def cohort(inputs: Tensor, labels: Tensor) -> Params:
        if clients == 1 or len(inputs) % clients:
            return client(inputs, labels)
        dealt = zip(_dealt(inputs, clients), _dealt(labels, clients), strict=True)
        steps = [client(*examples) for examples in dealt]
        return {name: sum_of(step[name] for step in steps) / clients for name in sent}

    return cohort


def _dealt(examples: Tensor, clients: int) -> Tensor:
    """`examples` [n, ...] as [clients, n / clients, ...], one to each client in turn."""
    return examples.unflatten(0, (-1, clients)).transpose(0, 1)


def observed_gradient(view: View) -> Params:
    """The mean gradient of the loss that each observed step stands for, less what weight decay added to it; up to a positive
    scale if the recipe is unknown, and hardly more than each coordinate's sign if the optimizer is adaptive."""
    return stack_rounds([_gradient_of(each) for each in rounds_of(view)])


def _gradient_of(view: View) -> Params:
    step = view.update
    if view.recipe is not None:
        weights = {name: parameter.detach() for name, parameter in view.model.named_parameters()}
        step = view.recipe.without_decay(step, weights, _count_of_one(view, view.recipe))
    return {name: -part / update_scale(view) for name, part in step.items()}


def _count_of_one(view: View, recipe: Recipe) -> int:
    """The examples of each client behind the view; where their number is withheld, of one batch."""
    return recipe.batch_size or 1 if view.count is None else max(1, view.count // clients_behind(view))


def update_scale(view: View) -> float:
    """By how much the step is longer than the mean gradient; 1 if the recipe is unknown."""
    return 1.0 if view.recipe is None else view.recipe.length(_count_of_one(view, view.recipe))


def familiar_images(view: View) -> Tensor:
    """Images to try the model on: at most `MOST_PUBLIC` public ones or, where none are granted, random ones."""
    if view.public is not None:
        every = -(-len(view.public) // MOST_PUBLIC)
        return view.public.inputs[::every]
    fixed = torch.Generator().manual_seed(0)  # the same each time: what is recovered depends on the view alone
    return photograph_like(PROBES, view.space.shape, fixed).to(next(iter(view.update.values())).device)


def familiar_labels(view: View) -> Tensor | None:
    """Their labels, on the CPU; None for random images, which have none."""
    return None if view.public is None else view.public.labels[:: -(-len(view.public) // MOST_PUBLIC)].cpu()


def inputs_of(view: View, layer: str, images: Tensor) -> Tensor:
    """What goes into the named layer, for images [n, *shape] taken as one batch in the model's own mode."""
    seen: list[Tensor] = []
    model = _without_running_updates(view.model)
    model.get_submodule(layer).register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(images)
    return seen[0]


def softmax_of(view: View, inputs: Tensor) -> Tensor:
    """The broadcast model's class probabilities [n, classes] of images [n, *shape], taken as one batch in its own mode."""
    with torch.no_grad():
        return _without_running_updates(view.model)(inputs).softmax(dim=1)


def _without_running_updates(model: nn.Module) -> nn.Module:
    return played_model(model)
