from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_shop.models import OutboxEntry
from django_shop.outbox import drain
from onelane import QueueFull, QueueUnavailable


class Command(BaseCommand):
    help = "Send what is in the outbox to Onelane, the oldest first. Run it every minute; it may overlap."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            while drain():
                pass
        except (QueueFull, QueueUnavailable) as error:
            raise CommandError(f"{error}; what is left stays in the outbox") from error
        refused = OutboxEntry.objects.exclude(problem="").count()
        self.stdout.write(f"The outbox is empty but for {refused} that were refused.")
