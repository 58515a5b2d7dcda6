"""Just enough of a Django project to try the recipe with: `DJANGO_SETTINGS_MODULE=django_shop.settings`."""

import os

SECRET_KEY = "only for trying it out"
INSTALLED_APPS = ["django_shop"]
ROOT_URLCONF = "django_shop.views"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SHOP_DB", "shop.sqlite3")}
}
