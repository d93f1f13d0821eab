// Small helps for the pages that Django draws; each works without them.

import "./ago.ts";
import "./copy.ts";
import "./drop.ts";
import "./news.ts";
