"""The stand-alone project's URLs: djsci's, the login, the admin; `/` leads to the console."""

from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import URLPattern, URLResolver, path
from django.views.generic import RedirectView

from djsci.urls import djsci_urls

from .login import Login

handler400 = "asgi_project.errors.bad_request"
handler403 = "asgi_project.errors.forbidden"
handler404 = "asgi_project.errors.not_found"
handler500 = "asgi_project.errors.failed"
urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(url="djsci/console/"), name="home"),
    path("accounts/login/", Login.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("admin/login/", RedirectView.as_view(pattern_name="login", query_string=True)),
    path("admin/", admin.site.urls),
    *djsci_urls,
]
