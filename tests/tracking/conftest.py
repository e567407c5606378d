from wandb_account import no_account, outputs, server

__all__ = ["no_account", "outputs", "server"]
