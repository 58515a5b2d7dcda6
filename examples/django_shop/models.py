import uuid

from django.db import models


class Account(models.Model):
    """A customer: the shop's own truth."""

    email = models.EmailField(unique=True)
    name = models.CharField(max_length=200)


class OutboxEntry(models.Model):
    """An intent on its way to Onelane, committed together with what it tells about."""

    intent = models.JSONField()
    key = models.UUIDField(default=uuid.uuid4)  # dedupe key of an intent that brings none
    problem = models.TextField(blank=True)  # why it was refused for good: it waits for a person
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pk",)
