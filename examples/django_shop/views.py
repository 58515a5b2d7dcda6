from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from onelane import ContactSync, InvalidIntent, ProductSignUp

from . import outbox
from .models import Account


@require_POST
def sign_up(request: HttpRequest) -> HttpResponse:
    """With the outbox: the account and what Onelane is to know of it are committed together, or neither."""
    email, name = request.POST["email"], request.POST["name"]
    try:
        with transaction.atomic():
            account = Account.objects.create(email=email, name=name)
            outbox.send(ProductSignUp(email=email, external_id=f"account-{account.pk}", name=name))
    except InvalidIntent as error:
        return JsonResponse({"field": error.field, "message": error.message}, status=422)
    return JsonResponse({"id": account.pk}, status=201)


@require_POST
def rename(request: HttpRequest, pk: int) -> HttpResponse:
    """Without it: told after the commit. If Redis is away then, the next full sync has to tell it."""
    with transaction.atomic():
        account = Account.objects.select_for_update().get(pk=pk)
        account.name = request.POST["name"]
        account.save()
        intent = ContactSync(email=account.email, external_id=f"account-{pk}", name=account.name)
        transaction.on_commit(lambda: outbox.contact_queue().enqueue(intent), robust=True)
    return JsonResponse({"id": account.pk})


urlpatterns = [path("accounts", sign_up), path("accounts/<int:pk>/name", rename)]
