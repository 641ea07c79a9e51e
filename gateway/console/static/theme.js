/* Loaded before anything is drawn: says that scripts run. The theme itself is in the page already, by its cookie. */
document.documentElement.classList.add("scripted");
