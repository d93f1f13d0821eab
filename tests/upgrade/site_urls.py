"""The URLs of the host project."""

from django.contrib import admin
from django.urls import path

from djsci.urls import djsci_urls

urlpatterns = [path("admin/", admin.site.urls)]
urlpatterns += djsci_urls
