// Sends the key once; the cookie that comes back is out of any script's reach.
const form = document.getElementById("login");
const error = document.getElementById("error");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  error.textContent = "";
  try {
    const answer = await fetch("/login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ key: document.getElementById("key").value }),
    });
    if (answer.ok) {
      location.assign(next());
      return;
    }
    error.textContent = (await answer.json()).detail ?? `The server answered ${answer.status}.`;
  } catch {
    error.textContent = "The server did not answer.";
  }
});

// Only a page of this server: anything that is read as another origin leads to the first page.
function next() {
  const wanted = new URLSearchParams(location.search).get("next") ?? "/";
  const url = new URL(wanted, location.origin);
  return url.origin === location.origin ? url.pathname + url.search + url.hash : "/";
}
