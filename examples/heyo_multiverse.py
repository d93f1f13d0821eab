"""The smallest handler: what it returns is the answer."""


def djsci_handler(request):
    return "heyo multiverse !!!! [python]"
