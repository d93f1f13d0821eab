// "3 new runs": says it above the list, whose rows stay where they are.

const EVERY = 10_000;

interface News {
  new: number;
  ended: number;
}

/** What the banner says; empty where there is no news. */
export function words(news: News): string {
  const fresh = news.new > 99 ? "99+" : String(news.new);
  const parts = [];
  if (news.new > 0) parts.push(`${fresh} new ${news.new === 1 ? "run" : "runs"}`);
  if (news.ended > 0) parts.push(`${news.ended} ${news.ended === 1 ? "has" : "have"} ended`);
  return parts.join(", ");
}

function isNews(value: unknown): value is News {
  const news = value as Partial<News> | null;
  return typeof news?.new === "number" && typeof news.ended === "number";
}

/** Asks every 10 s while the page is seen; stops when it is told that it may not. */
export function watch(banner: HTMLElement, address: string, every = EVERY): () => void {
  const said = banner.querySelector("span");
  let timer: ReturnType<typeof setTimeout> | undefined;
  let stopped = false;

  async function look(): Promise<void> {
    timer = undefined;
    try {
      const answer = await fetch(address, { headers: { Accept: "application/json" } });
      if (answer.status === 401 || answer.status === 403 || answer.redirected) stopped = true;
      const news: unknown = answer.ok && !answer.redirected ? await answer.json() : null;
      if (said && isNews(news)) {
        const text = words(news);
        if (said.textContent !== text) said.textContent = text;
        banner.hidden = text === "";
      }
    } catch {
      // Offline, or the server restarts: the next look tells.
    }
    plan();
  }

  function plan(): void {
    if (!stopped && timer === undefined && !document.hidden) timer = setTimeout(look, every);
  }

  function turned(): void {
    if (document.hidden) {
      clearTimeout(timer);
      timer = undefined;
    } else {
      plan();
    }
  }

  document.addEventListener("visibilitychange", turned);
  plan();
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", turned);
  };
}

if (typeof document !== "undefined") {
  for (const banner of document.querySelectorAll<HTMLElement>("[data-djsci-news]")) {
    watch(banner, banner.dataset.djsciNews ?? "");
  }
}
